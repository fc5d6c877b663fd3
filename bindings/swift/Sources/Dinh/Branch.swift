import DinhFFI
import Foundation

/// What a device may do in a branch. All devices of a member normally have the same.
public enum Role: Sendable, Hashable, CaseIterable {
    /// Admits and removes everybody below, creates spaces, writes everything.
    case secretary
    /// Admits and removes ordinary members, writes everything.
    case deputy
    /// On the committee.
    case committee
    /// An official member.
    case member
    /// A member on probation.
    case probationary
    /// From an upper body: reads what names it, comments.
    case reviewer
    /// Helps members with their phones: reads as they do, comments.
    case helper
    /// Reads only.
    case reader
}

/// Why a device is removed: for people.
public enum Reason: Sendable, Hashable, CaseIterable {
    /// Its owner left.
    case left
    /// The phone is lost or stolen.
    case lost
    /// Its owner was expelled.
    case expelled
    /// Its owner has another phone now.
    case replaced
}

/// Who writes a document, among those who read its space and whose role writes.
public enum Writers: Sendable, Hashable {
    /// All of them: comments.
    case all
    /// Members, on probation or not, the committee and the officers.
    case members
    /// The committee and the officers.
    case committee
    /// The officers, and who was named a recorder of the document.
    case officers
}

/// A device of a branch.
public struct Device: Sendable, Hashable, Identifiable {
    public let id: String
    /// Whose it is.
    public let member: String
    /// What it may do.
    public let role: Role
    /// What people call it, if this device may know.
    public let name: String?
}

/// A space that this device reads.
public struct Space: Sendable, Hashable, Identifiable {
    public let id: String
    /// The member who created it.
    public let creator: String
    /// Who reads it; nil: every device of the branch but reviewers'.
    public let readers: [String]?
    /// Whether newcomers read what was written before they came.
    public let hasHistory: Bool
    /// Whether it is protected on this device.
    public let isProtected: Bool
}

/// A document that this device reads.
public struct DocumentInfo: Sendable, Hashable, Identifiable {
    public let id: String
    /// Its space.
    public let space: String
    /// The member who created it.
    public let creator: String
    /// The name of its kind, if it has one that this library knows and can read.
    public let schema: String?
    /// Whether this device may write it now.
    public let mayWrite: Bool
}

/// A branch as this device knows it.
public struct BranchInfo: Sendable, Hashable, Identifiable {
    public let id: String
    /// This device in it; nil if it is not admitted, or removed.
    public let own: Device?
    /// The devices that are admitted now.
    public let devices: [Device]
    /// The spaces that this device reads.
    public let spaces: [Space]
    /// The upper body's branch, if one is named.
    public let upper: String?
}

/// A branch that was founded.
public struct Founded: Sendable {
    /// The branch.
    public let branch: Branch
    /// 24 words for the paper in the safe, which recover it. They are nowhere else.
    public let rootWords: String
}

/// Codes that people scan from each other's screens, as links and as QR images.
public enum Codes {
    /// What a code is.
    public enum Kind: Sendable, Hashable {
        /// A new device's, to be admitted.
        case join
        /// The answer to it.
        case welcome
        /// A root key: secret.
        case root
    }

    /// What a code is, before anything is done with it.
    public static func kind(_ code: String) throws -> Kind {
        switch try native({ try DinhFFI.codeKind(code: code) }) {
        case .join: .join
        case .welcome: .welcome
        case .root: .root
        }
    }

    /// As a QR image: PNG, `scale` pixels a module.
    public static func png(_ code: String, scale: UInt8 = 8) throws -> Data {
        try native { try DinhFFI.qrPng(code: code, scale: scale) }
    }

    /// As a QR image: SVG.
    public static func svg(_ code: String) throws -> String { try native { try DinhFFI.qrSvg(code: code) } }
}

/// A new id for a person: an app gives one to each member that it knows, and keeps which is whose.
public func newMemberID() throws -> String { try native { try DinhFFI.newMemberId() } }

/// Draws the key that recovers a branch: 24 words, for paper in the safe. Show them first, and found the branch with them.
public func newRootWords() throws -> String { try native { try DinhFFI.newRootWords() } }

extension Client {
    /// Founds a branch with this device as its secretary's. `rootWords` are ``newRootWords()``; without, they are drawn here. They are
    /// nowhere else.
    public func foundBranch(member: String, deviceName: String, rootWords: String? = nil) async throws -> Founded {
        let founded = try await native {
            try await ffi.foundBranch(member: member, deviceName: deviceName, rootWords: rootWords)
        }
        return Founded(branch: branch(founded.branch), rootWords: founded.rootWords)
    }

    /// Follows the branch of a welcome code and connects to the relay that it names: keep ``relay`` for the next start.
    /// ``Branch/joined()`` waits until this device is in the branch. Works offline; it is joined when the relay can be reached.
    public func join(_ welcomeCode: String) async throws -> Branch {
        branch(try await native { try await ffi.join(welcomeCode: welcomeCode) })
    }

    /// The branches that this device takes part in.
    public func branches() async throws -> [BranchInfo] {
        try await native { try await ffi.branches() }.map(BranchInfo.init)
    }

    /// A branch: nothing is read until it is used.
    public func branch(_ id: String) -> Branch { Branch(client: self, id: id) }
}

/// A branch. A light handle.
public struct Branch: Sendable, Identifiable {
    let client: Client
    public let id: String

    /// The branch as this device knows it; nil if its records are not here.
    public func info() async throws -> BranchInfo? { try await client.branches().first { $0.id == id } }

    /// Admits the device whose join code was scanned from its screen; gives the welcome code to show it. `relay`: the address that
    /// the new device shall connect to.
    public func admit(member: String, role: Role, joinCode: String, deviceName: String, relay: String) async throws -> String {
        try await native {
            try await client.ffi.admit(
                branch: id, member: member, role: role.native, joinCode: joinCode, deviceName: deviceName, relay: relay)
        }
    }

    /// Admits a further device of this device's own member; else as ``admit(member:role:joinCode:deviceName:relay:)``.
    public func admitOwn(joinCode: String, deviceName: String, relay: String) async throws -> String {
        try await native {
            try await client.ffi.admitOwn(branch: id, joinCode: joinCode, deviceName: deviceName, relay: relay)
        }
    }

    /// Waits until this device is in the branch whose welcome code it took, and has its records; returns at once if it is. As long as
    /// there is no connection: cancelling the task ends the wait, with a `CancellationError`. Fails with ``DinhError/Code/badCode`` if
    /// the branch's records do not confirm the code, which was made for another phone or is forged, with ``DinhError/Code/notFound`` if it
    /// took none and is not in the branch, and with
    /// ``DinhError/Code/closed`` if the client is closed meanwhile.
    public func joined() async throws {
        let wait = try native { try client.ffi.joining(branch: id) }
        let isIn = try await withTaskCancellationHandler {
            try await native { try await wait.run() }
        } onCancel: {
            wait.cancel()
        }
        if isIn { return }
        try Task.checkCancellation()
        throw DinhError(.closed, "the client was closed before this device was in the branch: open the store again to go on")
    }

    /// The welcome code of a device that was admitted before.
    public func welcomeCode(device: String, relay: String) async throws -> String {
        try await native { try await client.ffi.welcomeCode(branch: id, device: device, relay: relay) }
    }

    /// Removes a device: nothing that it writes from now on counts, and new keys shut it out. Works offline.
    public func removeDevice(_ device: String, reason: Reason) async throws {
        try await native { try await client.ffi.removeDevice(branch: id, device: device, reason: reason.native) }
    }

    /// Removes a member with all its devices.
    public func removeMember(_ member: String, reason: Reason) async throws {
        try await native { try await client.ffi.removeMember(branch: id, member: member, reason: reason.native) }
    }

    /// Gives a member another role.
    public func changeRole(of member: String, to role: Role) async throws {
        try await native { try await client.ffi.changeRole(branch: id, member: member, role: role.native) }
    }

    /// Says which branch is this one's upper body, or that there is none.
    public func setUpperBody(_ upper: String?) async throws {
        try await native { try await client.ffi.setUpperBody(branch: id, upper: upper) }
    }

    /// Makes this device the secretary's with the words from paper, and puts out the devices named.
    public func recover(
        rootWords: String, member: String, deviceName: String, taken: [String: Reason] = [:]
    ) async throws {
        let out = taken.map { DinhFFI.Taken(device: $0.key, reason: $0.value.native) }
        try await native {
            try await client.ffi.recoverBranch(
                branch: id, rootWords: rootWords, member: member, deviceName: deviceName, taken: out)
        }
    }

    /// Creates a space, for these members or, if none are given, for every device but reviewers'. `history`: whether newcomers read
    /// what was written before they came. `padded`: whether sizes are hidden, for confidential threads.
    public func createSpace(members: [String]? = nil, history: Bool = true, padded: Bool = false) async throws -> String {
        try await native {
            try await client.ffi.createSpace(branch: id, members: members, history: history, padded: padded)
        }
    }

    /// Lets a member read a space.
    public func grant(_ space: String, to member: String) async throws {
        try await native { try await client.ffi.grant(space: space, member: member) }
    }

    /// Takes a member off the readers of a space.
    public func revoke(_ space: String, from member: String) async throws {
        try await native { try await client.ffi.revoke(space: space, member: member) }
    }

    /// Draws a new key for a space.
    public func rotateKey(of space: String) async throws {
        try await native { try await client.ffi.rotateKey(space: space) }
    }

    /// Says whether a space is protected on this device from now on: it needs ``Secrets/wrap``.
    public func protect(_ space: String, _ protect: Bool = true) async throws {
        try await native { try await client.ffi.protectSpace(space: space, protect: protect) }
    }

    /// The spaces of the branch that this device reads and whose index is here, with what is in them. Reviewers, for whom there is no
    /// ``Standing``, find their documents by these: ``IndexDocument/snapshot()``.
    public func spaces() async throws -> [ListedSpace] {
        let found = try await native { try await client.ffi.spaces(branch: id) }
        return found.map { ListedSpace($0, of: client) }
    }

    /// The documents of a space.
    public func documents(in space: String) async throws -> [DocumentInfo] {
        try await native { try await client.ffi.documents(space: space) }.map {
            DocumentInfo(id: $0.id, space: $0.space, creator: $0.creator, schema: $0.schema, mayWrite: $0.mayWrite)
        }
    }

    /// Creates an empty document without a kind.
    public func createDocument(in space: String, writers: Writers = .all) async throws -> Document {
        let by: DinhFFI.Writers =
            switch writers {
            case .all: .all
            case .members: .members
            case .committee: .committee
            case .officers: .officers
            }
        return client.document(try await native { try await client.ffi.createDocument(space: space, writers: by) })
    }

    /// Names a member as a recorder of one document: it may write there whatever its role.
    public func nameRecorder(_ member: String, of doc: String) async throws {
        try await native { try await client.ffi.nameRecorder(doc: doc, member: member) }
    }

    /// Shows other devices of a space what this one is doing. Not stored; lost if not connected.
    public func sendPresence(_ payload: Data, to space: String) throws {
        try native { try client.ffi.sendPresence(space: space, payload: payload) }
    }
}

extension Role {
    init(_ role: DinhFFI.Role) {
        switch role {
        case .secretary: self = .secretary
        case .deputy: self = .deputy
        case .committee: self = .committee
        case .member: self = .member
        case .probationary: self = .probationary
        case .reviewer: self = .reviewer
        case .helper: self = .helper
        case .reader: self = .reader
        }
    }

    var native: DinhFFI.Role {
        switch self {
        case .secretary: .secretary
        case .deputy: .deputy
        case .committee: .committee
        case .member: .member
        case .probationary: .probationary
        case .reviewer: .reviewer
        case .helper: .helper
        case .reader: .reader
        }
    }
}

extension Reason {
    init(_ reason: DinhFFI.Reason) {
        switch reason {
        case .left: self = .left
        case .lost: self = .lost
        case .expelled: self = .expelled
        case .replaced: self = .replaced
        }
    }

    var native: DinhFFI.Reason {
        switch self {
        case .left: .left
        case .lost: .lost
        case .expelled: .expelled
        case .replaced: .replaced
        }
    }
}

extension Device {
    init(_ device: DinhFFI.Device) {
        self.init(id: device.id, member: device.member, role: Role(device.role), name: device.name)
    }
}

extension BranchInfo {
    init(_ branch: DinhFFI.Branch) {
        let spaces = branch.spaces.map {
            Space(id: $0.id, creator: $0.creator, readers: $0.readers, hasHistory: $0.history, isProtected: $0.isProtected)
        }
        self.init(
            id: branch.id, own: branch.own.map(Device.init), devices: branch.devices.map(Device.init), spaces: spaces,
            upper: branch.upper)
    }
}
