import DinhFFI
import Foundation

/// The people of a branch: ``Standing/roster``. It is imported, not typed, and holds nothing by which somebody could be reached or
/// identified outside.
public struct RosterDocument: ModelDocument {
    public let document: Document

    public func snapshot() async throws -> Roster { try await read(.roster) { try decoded($0) } }

    public var snapshots: AsyncThrowingStream<Snapshot<Roster>, any Error> {
        get throws { try follow(.roster) { try decoded($0) } }
    }

    /// Makes the roster what a spreadsheet saved as CSV says: who is in no row is taken off. If a row is wrong, nothing is written
    /// (``RosterImport/isWritten``), or a mistake would take its member off. By an officer.
    ///
    /// - Parameter authority: The body that keeps the records that the file comes from.
    @discardableResult
    public func importCSV(_ file: Data, authority: String) async throws -> RosterImport {
        RosterImport(
            try await native {
                try await document.client.ffi.importRoster(roster: id, authority: authority, file: file)
            })
    }
}
