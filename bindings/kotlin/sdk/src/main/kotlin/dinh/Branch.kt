package dinh

import dinh.ffi.Client as FfiClient

/** What a device may do in a branch. All devices of a member normally have the same. */
public enum class Role {
    /** Admits and removes everybody below, creates spaces, writes everything. */
    SECRETARY,

    /** Admits and removes ordinary members, writes everything. */
    DEPUTY,

    /** On the committee. */
    COMMITTEE,

    /** An official member. */
    MEMBER,

    /** A member on probation. */
    PROBATIONARY,

    /** From an upper body: reads what names it, comments. */
    REVIEWER,

    /** Helps members with their phones: reads as they do, comments. */
    HELPER,

    /** Reads only. */
    READER,
}

/** Why a device is removed: for people. */
public enum class Reason {
    /** Its owner left. */
    LEFT,

    /** The phone is lost or stolen. */
    LOST,

    /** Its owner was expelled. */
    EXPELLED,

    /** Its owner has another phone now. */
    REPLACED,
}

/** Who writes a document, among those who read its space and whose role writes. */
public enum class Writers {
    /** All of them: comments. */
    ALL,

    /** Members, on probation or not, the committee and the officers. */
    MEMBERS,

    /** The committee and the officers. */
    COMMITTEE,

    /** The officers, and who was named a recorder of the document. */
    OFFICERS,
}

/** A device of a branch. [name]: what people call it, if this device may know. */
public data class Device(public val id: String, public val member: String, public val role: Role, public val name: String?)

/** A space that this device reads. [readers]: null for every device of the branch but reviewers'. */
public data class Space(
    public val id: String,
    public val creator: String,
    public val readers: List<String>?,
    public val hasHistory: Boolean,
    public val isProtected: Boolean,
)

/** A document that this device reads. [schema]: the name of its kind, if it has one that this library knows. */
public data class DocumentInfo(
    public val id: String,
    public val space: String,
    public val creator: String,
    public val schema: String?,
    public val mayWrite: Boolean,
)

/** A branch as this device knows it. [own]: this device in it; null if it is not admitted, or removed. */
public data class BranchInfo(
    public val id: String,
    public val own: Device?,
    public val devices: List<Device>,
    public val spaces: List<Space>,
    public val upper: String?,
)

/** A branch that was founded, and 24 words for the paper in the safe, which recover it. They are nowhere else. */
public class Founded internal constructor(public val branch: Branch, public val rootWords: String)

/** What a scanned or pasted code is. */
public enum class CodeKind {
    /** A new device's, to be admitted. */
    JOIN,

    /** The answer to it. */
    WELCOME,

    /** A root key: secret. */
    ROOT,
}

/** Codes that people scan from each other's screens, as links and as QR images. */
public object Codes {
    /** What a code is, before anything is done with it. */
    public fun kind(code: String): CodeKind = CodeKind.valueOf(native { dinh.ffi.codeKind(code) }.name)

    /** As a QR image: PNG, [scale] pixels a module. */
    public fun png(code: String, scale: Int = 8): ByteArray {
        if (scale !in 1..255) throw DinhException.Invalid("a scale of $scale pixels; give 1 to 255")
        return native { dinh.ffi.qrPng(code, scale.toUByte()) }
    }

    /** As a QR image: SVG. */
    public fun svg(code: String): String = native { dinh.ffi.qrSvg(code) }
}

/** A new id for a person: an app gives one to each member that it knows, and keeps which is whose. */
public fun newMemberId(): String = native { dinh.ffi.newMemberId() }

/**
 * Draws the key that recovers a branch: 24 words, for paper in the safe. Show them first, and found the branch with them: what a call
 * draws itself is lost if its coroutine is cancelled meanwhile.
 */
public fun newRootWords(): String = native { dinh.ffi.newRootWords() }

/** Founds a branch with this device as its secretary's. [rootWords] are [newRootWords]; they are nowhere else. */
public suspend fun Client.foundBranch(
    member: String,
    deviceName: String,
    rootWords: String = newRootWords(),
): Founded {
    val founded = native { ffi.foundBranch(member, deviceName, rootWords) }
    return Founded(branch(founded.branch), founded.rootWords)
}

/**
 * Follows the branch of a welcome code and connects to the relay that it names, which is [Client.relay] then. [Branch.joined] waits until
 * the branch is joined; [ClientEvent.Joined] tells it too.
 */
public suspend fun Client.join(welcomeCode: String): Branch = branch(native { ffi.join(welcomeCode) })

/** The branches that this device takes part in. */
public suspend fun Client.branches(): List<BranchInfo> = native { ffi.branches() }.map { it.toPublic() }

/** A branch: nothing is read until it is used. */
public fun Client.branch(id: String): Branch = Branch(this, id)

/** A branch. A light handle: it holds nothing and need not be closed. */
public class Branch internal constructor(internal val client: Client, public val id: String) {
    private val ffi: FfiClient
        get() = client.ffi

    /** The branch as this device knows it; null if its records are not here. */
    public suspend fun info(): BranchInfo? = client.branches().find { it.id == id }

    /**
     * Waits until this device is in the branch whose welcome code it took, and has its records; returns at once if it is. It takes as
     * long as there is no connection: `withTimeout` limits it, cancelling the coroutine ends it. Fails with [DinhException.BadCode] if
     * the branch's records do not confirm the welcome, which was made for another phone or is forged, with [DinhException.NotFound]
     * if it took none and is not in the branch, and with [DinhException.Closed] if the client is closed meanwhile.
     */
    public suspend fun joined() {
        native { ffi.joining(id) }.use { wait ->
            if (native { wait.run() }) return
            val why = "the client was closed before this device was in the branch: open the store again to go on"
            throw DinhException.Closed(why)
        }
    }

    /**
     * Admits the device whose join code was scanned from its screen; gives the welcome code to show it. [relay]: the address that
     * the new device shall connect to.
     */
    public suspend fun admit(member: String, role: Role, joinCode: String, deviceName: String, relay: String): String =
        native { ffi.admit(id, member, dinh.ffi.Role.valueOf(role.name), joinCode, deviceName, relay) }

    /** Admits a further device of this device's own member; else as [admit]. */
    public suspend fun admitOwn(joinCode: String, deviceName: String, relay: String): String =
        native { ffi.admitOwn(id, joinCode, deviceName, relay) }

    /** The welcome code of a device that was admitted before. */
    public suspend fun welcomeCode(device: String, relay: String): String = native { ffi.welcomeCode(id, device, relay) }

    /** Removes a device: nothing that it writes from now on counts, and new keys shut it out. Works offline. */
    public suspend fun removeDevice(device: String, reason: Reason): Unit =
        native { ffi.removeDevice(id, device, dinh.ffi.Reason.valueOf(reason.name)) }

    /** Removes a member with all its devices. */
    public suspend fun removeMember(member: String, reason: Reason): Unit =
        native { ffi.removeMember(id, member, dinh.ffi.Reason.valueOf(reason.name)) }

    /** Gives a member another role. */
    public suspend fun changeRole(member: String, role: Role): Unit =
        native { ffi.changeRole(id, member, dinh.ffi.Role.valueOf(role.name)) }

    /** Says which branch is this one's upper body, or that there is none. */
    public suspend fun setUpperBody(upper: String?): Unit = native { ffi.setUpperBody(id, upper) }

    /** Makes this device the secretary's with the words from paper, and puts out the devices named. */
    public suspend fun recover(
        rootWords: String,
        member: String,
        deviceName: String,
        taken: Map<String, Reason> = mapOf(),
    ): Unit =
        native {
            val out = taken.map { (device, reason) -> dinh.ffi.Taken(device, dinh.ffi.Reason.valueOf(reason.name)) }
            ffi.recoverBranch(id, rootWords, member, deviceName, out)
        }

    /**
     * Creates a space, for these members or, if none are given, for every device but reviewers'. [history]: whether newcomers read
     * what was written before they came. [padded]: whether sizes are hidden, for confidential threads.
     */
    public suspend fun createSpace(
        members: List<String>? = null,
        history: Boolean = true,
        padded: Boolean = false,
    ): String = native { ffi.createSpace(id, members, history, padded) }

    /** Lets a member read a space. */
    public suspend fun grant(space: String, member: String): Unit = native { ffi.grant(space, member) }

    /** Takes a member off the readers of a space. */
    public suspend fun revoke(space: String, member: String): Unit = native { ffi.revoke(space, member) }

    /** Draws a new key for a space. */
    public suspend fun rotateKey(space: String): Unit = native { ffi.rotateKey(space) }

    /** Says whether a space is protected on this device from now on: it needs [Secrets.wrap]. */
    public suspend fun protect(space: String, protect: Boolean = true): Unit = native { ffi.protectSpace(space, protect) }

    /** The documents of a space. */
    public suspend fun documents(space: String): List<DocumentInfo> =
        native { ffi.documents(space) }.map { DocumentInfo(it.id, it.space, it.creator, it.schema, it.mayWrite) }

    /** Creates an empty document without a kind. */
    public suspend fun createDocument(space: String, writers: Writers = Writers.ALL): Document =
        client.document(native { ffi.createDocument(space, dinh.ffi.Writers.valueOf(writers.name)) })

    /** Names a member as a recorder of one document: it may write there whatever its role. */
    public suspend fun nameRecorder(doc: String, member: String): Unit = native { ffi.nameRecorder(doc, member) }

    /** Shows other devices of a space what this one is doing. Not stored; lost if not connected. */
    public fun sendPresence(space: String, payload: ByteArray): Unit = native { ffi.sendPresence(space, payload) }
}

private fun dinh.ffi.Device.toPublic() = Device(id, member, Role.valueOf(role.name), name)

private fun dinh.ffi.Branch.toPublic() =
    BranchInfo(
        id = id,
        own = own?.toPublic(),
        devices = devices.map { it.toPublic() },
        spaces = spaces.map { Space(it.id, it.creator, it.readers, it.history, it.isProtected) },
        upper = upper,
    )
