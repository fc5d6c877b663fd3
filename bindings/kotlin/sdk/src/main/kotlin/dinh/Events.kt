package dinh

/** What happens to a client besides the content of documents. */
public sealed interface ClientEvent {
    /** A document changed. */
    public data class DocumentChanged(public val doc: String) : ClientEvent

    /** Members, spaces or documents of a branch changed. */
    public data class CharterChanged(public val branch: String) : ClientEvent

    /** A device was admitted. Everybody's phone should say so: a device that nobody knows of must not go unseen. */
    public data class DeviceAdded(
        public val branch: String,
        public val device: String,
        public val member: String,
        public val role: Role,
    ) : ClientEvent

    /** A device was removed: nothing that it writes from now on counts. */
    public data class DeviceRemoved(
        public val branch: String,
        public val device: String,
        public val reason: Reason,
    ) : ClientEvent

    /** This device is in the branch whose welcome it scanned. */
    public data class Joined(public val branch: String) : ClientEvent

    /** The branch's records do not confirm the welcome: it was made for another phone, or is forged. Scan again, in person. */
    public data class JoinFailed(public val branch: String) : ClientEvent

    /** The relay withholds records that who admitted this device had seen: ask another device or relay. */
    public data class Withheld(public val branch: String) : ClientEvent

    /** Something was refused for good. It is kept in quarantine. */
    public data class Refused(public val item: String, public val byRelay: Boolean, public val detail: String) : ClientEvent

    /** A run is kept and not shown: its author may not write what it writes. An officer may let it in. */
    public data class RunDenied(
        public val doc: String,
        public val run: String,
        public val device: String,
        public val detail: String,
    ) : ClientEvent

    /** This store turned out to be an old copy: own changes were written again. Nothing is lost. */
    public data class Recovered(public val changes: Int) : ClientEvent

    /** What another device is doing: bytes of the app's. */
    public class Presence(public val space: String, public val device: String, public val payload: ByteArray) : ClientEvent
}

internal fun dinh.ffi.ClientEvent.toPublic(): ClientEvent =
    when (this) {
        is dinh.ffi.ClientEvent.DocumentChanged -> ClientEvent.DocumentChanged(doc)
        is dinh.ffi.ClientEvent.CharterChanged -> ClientEvent.CharterChanged(branch)
        is dinh.ffi.ClientEvent.DeviceAdded ->
            ClientEvent.DeviceAdded(branch, device, member, Role.valueOf(role.name))
        is dinh.ffi.ClientEvent.DeviceRemoved ->
            ClientEvent.DeviceRemoved(branch, device, Reason.valueOf(reason.name))
        is dinh.ffi.ClientEvent.Joined -> ClientEvent.Joined(branch)
        is dinh.ffi.ClientEvent.JoinFailed -> ClientEvent.JoinFailed(branch)
        is dinh.ffi.ClientEvent.Withheld -> ClientEvent.Withheld(branch)
        is dinh.ffi.ClientEvent.Refused -> ClientEvent.Refused(item, byRelay, detail)
        is dinh.ffi.ClientEvent.RunDenied -> ClientEvent.RunDenied(doc, run, device, detail)
        is dinh.ffi.ClientEvent.Recovered -> ClientEvent.Recovered(changes.toInt())
        is dinh.ffi.ClientEvent.Presence -> ClientEvent.Presence(space, device, payload)
    }
