package dinh.model

import kotlinx.serialization.SerialName
import kotlinx.serialization.Serializable

/** A seal: what was adopted, by its exact heads and a hash of its content, chained to the seals before it. */
@Serializable
public data class Seal(
    /** The document. */
    public val document: String,
    /** What kind of document: `dinh.minutes/1`. */
    public val schema: String,
    /** The heads that it names, hashes in hex: what was sealed is what `document.getAt` gives of them. */
    public val heads: List<String>,
    /** The SHA-256 of what it froze, in hex. */
    public val content: String,
    /** When, by the sealing device's clock: milliseconds since 1970. */
    public val at: Long,
    /** The number that the document got, if it gets one. */
    public val number: String?,
    /** Who sealed it: a member. */
    public val by: String,
    /** The hashes of the branch's seals that nothing followed when it was made. */
    public val previous: List<String>,
)

/** What a seal turns out to be on this device. */
@Serializable
public enum class SealVerdict {
    /** The content at its heads is what it says. */
    @SerialName("valid")
    VALID,

    /** Not all changes that it names are here yet. */
    @SerialName("incomplete")
    INCOMPLETE,

    /** The content at its heads is something else: the seal is worth nothing. */
    @SerialName("wrong")
    WRONG,
}

/** One field that a change wrote which came after the seal: its writer did not know of it, because a phone was offline. */
@Serializable
public data class LateProposal(
    /** The change, in hex. Several fields may be of one change. */
    public val change: String,
    /** Who made it; null if this device does not know the device. */
    public val by: Writer?,
    /** When, by its device's clock: seconds since 1970. */
    @SerialName("time_s") public val timeSeconds: Long,
    /** The field: keys from the document's root. */
    public val field: List<String>,
    /** What its writer saw there. */
    public val before: String,
    /** What it wrote. */
    public val after: String,
    /** What became of the change, if anything did: a document and a key in it. */
    public val became: String?,
) {
    /** The block whose text it is; null if it is none's. */
    public val block: String?
        get() = blockOf(this.field)
}

private fun blockOf(keys: List<String>): String? =
    if (keys.size == 3 && keys[0] == "blocks" && keys[2] == "text") keys[1] else null

/** The seal of a document as it is shown. */
@Serializable
public data class Sealed(
    /** The seal. */
    public val seal: Seal,
    /** Its hash, by which the next seal names it. */
    public val hash: String,
    /** Whether what stands at its heads is what it says. */
    public val verified: SealVerdict,
    /** What came too late, oldest first. The sealed text is as it was. */
    public val late: List<LateProposal>,
)

/** What a document does to another one. */
@Serializable
public enum class AmendmentRelation {
    /** It adds to it: minutes that correct minutes. */
    @SerialName("adds")
    ADDS,

    /** It changes parts of it. */
    @SerialName("amends")
    AMENDS,

    /** It holds in its place. */
    @SerialName("supersedes")
    SUPERSEDES,

    /** It takes it back. */
    @SerialName("revokes")
    REVOKES,
}

/** What a document says that it does to a sealed one. */
@Serializable
public data class Amendment(
    /** What. */
    public val relation: AmendmentRelation,
    /** The hash of the seal by which it knows the other one. */
    public val seal: String,
)

/** A block that several wrote in without knowing of each other, and that nobody reread since: does it still say something? */
@Serializable
public data class Overlap(
    /** The block. */
    public val block: String,
    /** The members who wrote in it. */
    public val members: Set<String>,
)
