import DinhFFI
import Foundation

/// The secrets of a device, 32 bytes each: drawn once by ``generate()``, and kept in the keychain.
public struct Secrets: Sendable {
    /// Who this device is: at hand after the phone's first unlock (`kSecAttrAccessibleAfterFirstUnlockThisDeviceOnly`), so that the
    /// client syncs in the background.
    public var device: Data
    /// What opens protected spaces, behind biometry. Without it the client opens with those locked.
    public var wrap: Data?
    /// The public half of `wrap`, which is no secret.
    public var wrapPublic: Data
    /// What encrypts the store. If it is lost, so is what was not synced.
    public var store: Data

    public init(device: Data, wrap: Data?, wrapPublic: Data, store: Data) {
        self.device = device
        self.wrap = wrap
        self.wrapPublic = wrapPublic
        self.store = store
    }

    /// Draws the secrets of a new device.
    public static func generate() throws -> Secrets {
        let drawn = try native { try DinhFFI.generateSecrets() }
        return Secrets(device: drawn.device, wrap: drawn.wrap, wrapPublic: drawn.wrapPublic, store: drawn.store)
    }

    var forNative: DinhFFI.Secrets {
        DinhFFI.Secrets(device: device, wrap: wrap, wrapPublic: wrapPublic, store: store)
    }
}

/// Where a client stands.
public struct Status: Sendable, Hashable {
    /// The connection to the relay.
    public enum Link: Sendable {
        /// No connection.
        case offline
        /// A connection is being made.
        case connecting
        /// Connected; older items are still coming.
        case catchingUp
        /// Connected; everything is received.
        case live
    }

    /// Whether a client works.
    public enum Lifecycle: Sendable {
        /// It does.
        case open
        /// It is locked or paused.
        case locked
        /// It was closed.
        case closed
        /// It stopped by itself, because its store failed: open it again.
        case stopped
    }

    /// The connection to the relay.
    public let link: Link
    /// Whether everything that is saved here is in the relay's durable log, and everything there is here.
    public let isSynced: Bool
    /// Changes that are saved here and not in the relay's durable log yet.
    public let pending: Int
    /// Changes that are saved here and go nowhere, because this device may not read their space any more.
    public let stranded: Int
    /// Whether protected spaces are locked.
    public let isProtectedLocked: Bool
    /// Why there is no connection, if there should be one: for people who look into it.
    public let trouble: String?
    /// Whether the client works.
    public let lifecycle: Lifecycle
}

/// What went over sockets since a client was opened: bytes of WebSocket payloads, TLS and TCP not counted.
public struct Traffic: Sendable, Hashable {
    /// Bytes sent.
    public let bytesUp: Int
    /// Bytes received.
    public let bytesDown: Int
    /// Connections that came as far as the upgrade to a WebSocket.
    public let connections: Int
}

/// Something that was refused for good, kept so that somebody can look into it.
public struct Quarantined: Sendable, Hashable {
    /// The item, if it is one.
    public let item: String?
    /// The device that made it, if it is one's. Not proved if the signature is what was refused.
    public let device: String?
    /// The document, if it is of one.
    public let doc: String?
    /// Why, for people.
    public let detail: String
    /// The bytes as they were received.
    public let bytes: Data
}

/// How a wait for everything to be synced ended.
public enum SyncOutcome: Sendable, Hashable {
    /// Everything is synced.
    case synced
    /// Connected, but not done in time: it goes on from there next time.
    case partial(pending: Int)
    /// No connection.
    case offline(trouble: String?)
}

/// A device's store and its connection to a relay. One client at a time may have a store open.
///
/// Every function may be called from any thread or actor: work is done on a thread of the library's. What writes returns when the
/// write is on this device's disk, whatever the network does. A task that is cancelled while it waits for a write has written.
public final class Client: Sendable {
    let ffi: DinhFFI.Client

    private init(_ ffi: DinhFFI.Client) { self.ffi = ffi }

    /// Opens the store and starts; the first connection is dialled in the background.
    ///
    /// - Parameters:
    ///   - store: The store's file; made if it is not there. Its folder must exist.
    ///   - marker: A small file in a folder that no backup holds, by which a store that came out of a backup is known. Set
    ///     `isExcludedFromBackup` of the folder, which must exist: the file itself is replaced.
    ///   - relay: The relay to keep a connection to, as it printed its address; none to stay offline.
    ///   - tlsRoots: Certificates (X.509, DER) of authorities that are trusted beside Mozilla's, for relays behind `wss://`.
    ///   - verifyStore: Whether the whole file is read and its checksums compared.
    ///   - openDocumentsBytesMax: Open documents are closed, least recently used first, when they take more bytes of memory than
    ///     this.
    public static func open(
        store: URL, marker: URL, secrets: Secrets, relay: String? = nil, tlsRoots: [Data] = [], verifyStore: Bool = true,
        openDocumentsBytesMax: Int = 16 << 20
    ) async throws -> Client {
        let options = ClientOptions(
            storePath: store.path, markerPath: marker.path, relay: relay, tlsRoots: tlsRoots, verifyStore: verifyStore,
            openDocumentsBytesMax: UInt64(max(0, openDocumentsBytesMax)))
        return try await native { Client(try await DinhFFI.Client.open(options: options, secrets: secrets.forNative)) }
    }

    /// This device's id.
    public var device: String { ffi.device() }

    /// The code that this device shows to be admitted to a branch.
    public var joinCode: String { ffi.joinCode() }

    /// Where the client stands now.
    public var status: Status { Status(ffi.status()) }

    /// Where the client stands: now, and at every change. Ends when the client is closed.
    public var statuses: AsyncStream<Status> {
        pullQuietly(ffi.statusStream()) { try await $0.next().map(Status.init) }
    }

    /// What happens besides the content of documents, from now on. Ends when the client is closed.
    public var events: AsyncStream<ClientEvent> {
        pullQuietly(ffi.eventStream()) { try await $0.next().map(ClientEvent.init) }
    }

    /// What went over sockets since the client was opened.
    public var traffic: Traffic { Traffic(ffi.traffic()) }

    /// Everything that was refused for good: what ``ClientEvent/refused(item:byRelay:detail:)`` told, also in earlier runs of the app.
    public func quarantined() async throws -> [Quarantined] {
        try await native { try await ffi.quarantined() }.map { Quarantined($0) }
    }

    /// Lets a run in that its author's rights do not, on all devices: one of ``ClientEvent/runDenied(doc:run:device:detail:)``. By an
    /// officer.
    public func releaseRun(_ run: String, of doc: String) async throws {
        try await native { try await ffi.releaseRun(doc: doc, run: run) }
    }

    /// The relay to which a connection is kept, if any: the one that was given at opening, that a welcome code named, or that was set.
    /// Keep it, and give it to `open` the next time: the store does not hold it.
    public var relay: String? { ffi.relay() }

    /// Connects to another relay from now on, or to none. `address` as the relay printed it: `wss://host/dinh/v1#KEY`.
    public func setRelay(_ address: String?) throws { try native { try ffi.setRelay(relay: address) } }

    /// The system says that the network changed: the relay is asked at once whether it is there, or dialled.
    public func networkChanged() { ffi.networkChanged() }

    /// The app is in the foreground again: its connection may have died while it slept.
    public func foregrounded() { ffi.foregrounded() }

    /// Everything typed is on disk when this returns: for the moment when the app goes to the background.
    public func flush() async throws { try await native { try await ffi.flush() } }

    /// Waits until everything is synced, at most `timeout` seconds: for background work. A connection is first asked whether it is
    /// still alive. ``SyncOutcome/offline(trouble:)`` comes as soon as an attempt to connect has failed, or after `timeout` if there
    /// is no relay to connect to. Cancelling the task ends the wait, with a `CancellationError`.
    public func sync(timeout: TimeInterval) async throws -> SyncOutcome {
        let wait = ffi.sync(timeoutMs: Self.milliseconds(timeout: timeout))
        return try await withTaskCancellationHandler {
            try await native { SyncOutcome(try await wait.run()) }
        } onCancel: {
            wait.cancel()
        }
    }

    /// What is no number is no time, and for ever are 30 years.
    static func milliseconds(timeout: TimeInterval) -> UInt64 { timeout > 0 ? UInt64(min(timeout, 1e9) * 1_000) : 0 }

    /// Closes the store's files until ``resume()``, as the system demands of apps that it suspends. Streams stay; calls meanwhile
    /// fail with ``DinhError/Code/locked``.
    public func pause() async throws { try await native { try await ffi.pause() } }

    /// Goes on after ``pause()``.
    public func resume() async throws { try await native { try await ffi.resume() } }

    /// As ``pause()``, and forgets the keys: for a phone that is put away.
    public func lock() async throws { try await native { try await ffi.lock() } }

    /// Opens a locked client again. Without ``Secrets/wrap``, protected spaces stay locked.
    public func unlock(_ secrets: Secrets) async throws { try await native { try await ffi.unlock(secrets: secrets.forNative) } }

    /// Locks protected spaces until ``unlockProtected(_:)``; everything else goes on.
    public func lockProtected() async throws { try await native { try await ffi.lockProtected() } }

    /// Takes the wrap secret back: everything can be read again.
    public func unlockProtected(_ wrap: Data) async throws { try await native { try await ffi.unlockProtected(wrap: wrap) } }

    /// From now on another key of 32 bytes opens the store. Keep both until this returns.
    public func changeStoreKey(_ key: Data) async throws { try await native { try await ffi.changeStoreKey(key: key) } }

    /// Saves what is typed and closes the store, which can be opened again when this returns. Does not wait for anything to be sent.
    /// The second time nothing happens.
    public func shutdown() async throws { try await native { try await ffi.shutdown() } }

    /// A generic document: nothing is read until it is used.
    public func document(_ id: String) -> Document { Document(client: self, id: id) }
}

extension Status {
    init(_ status: DinhFFI.Status) {
        link =
            switch status.link {
            case .offline: .offline
            case .connecting: .connecting
            case .catchingUp: .catchingUp
            case .live: .live
            }
        isSynced = status.isSynced
        pending = Int(status.pending)
        stranded = Int(status.stranded)
        isProtectedLocked = status.protectedLocked
        trouble = status.trouble
        lifecycle =
            switch status.lifecycle {
            case .open: .open
            case .locked: .locked
            case .closed: .closed
            case .stopped: .stopped
            }
    }
}

extension Traffic {
    init(_ traffic: DinhFFI.Traffic) {
        self.init(
            bytesUp: Int(clamping: traffic.bytesUp), bytesDown: Int(clamping: traffic.bytesDown),
            connections: Int(clamping: traffic.connections))
    }
}

extension Quarantined {
    init(_ found: DinhFFI.Quarantined) {
        self.init(item: found.item, device: found.device, doc: found.doc, detail: found.detail, bytes: found.bytes)
    }
}

extension SyncOutcome {
    init(_ outcome: DinhFFI.SyncOutcome) {
        switch outcome {
        case .synced: self = .synced
        case .partial(let pending): self = .partial(pending: Int(pending))
        case .offline(let trouble): self = .offline(trouble: trouble)
        }
    }
}
