import DinhFFI
import Foundation

/// What happens to a client besides the content of documents.
public enum ClientEvent: Sendable, Hashable {
    /// A document changed.
    case documentChanged(doc: String)
    /// Members, spaces or documents of a branch changed.
    case charterChanged(branch: String)
    /// A device was admitted. Everybody's phone should say so: a device that nobody knows of must not go unseen.
    case deviceAdded(branch: String, device: String, member: String, role: Role)
    /// A device was removed: nothing that it writes from now on counts.
    case deviceRemoved(branch: String, device: String, reason: Reason)
    /// This device is in the branch whose welcome it scanned.
    case joined(branch: String)
    /// The branch's records do not confirm the welcome: it was made for another phone, or is forged. Scan again, in person.
    case joinFailed(branch: String)
    /// The relay withholds records that who admitted this device had seen: ask another device or relay.
    case withheld(branch: String)
    /// Something was refused for good. It is kept in quarantine.
    case refused(item: String, byRelay: Bool, detail: String)
    /// A run is kept and not shown: its author may not write what it writes. An officer may let it in.
    case runDenied(doc: String, run: String, device: String, detail: String)
    /// This store turned out to be an old copy: own changes were written again. Nothing is lost.
    case recovered(changes: Int)
    /// What another device is doing: bytes of the app's.
    case presence(space: String, device: String, payload: Data)
}

extension ClientEvent {
    init(_ event: DinhFFI.ClientEvent) {
        switch event {
        case .documentChanged(let doc): self = .documentChanged(doc: doc)
        case .charterChanged(let branch): self = .charterChanged(branch: branch)
        case .deviceAdded(let branch, let device, let member, let role):
            self = .deviceAdded(branch: branch, device: device, member: member, role: Role(role))
        case .deviceRemoved(let branch, let device, let reason):
            self = .deviceRemoved(branch: branch, device: device, reason: Reason(reason))
        case .joined(let branch): self = .joined(branch: branch)
        case .joinFailed(let branch): self = .joinFailed(branch: branch)
        case .withheld(let branch): self = .withheld(branch: branch)
        case .refused(let item, let byRelay, let detail): self = .refused(item: item, byRelay: byRelay, detail: detail)
        case .runDenied(let doc, let run, let device, let detail):
            self = .runDenied(doc: doc, run: run, device: device, detail: detail)
        case .recovered(let changes): self = .recovered(changes: Int(changes))
        case .presence(let space, let device, let payload):
            self = .presence(space: space, device: device, payload: payload)
        }
    }
}
