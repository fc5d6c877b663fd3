package dinh.model

import kotlinx.serialization.SerialName
import kotlinx.serialization.Serializable

/** For whom a space is. */
@Serializable
public enum class SpacePurpose {
    /** All members. */
    @SerialName("branch")
    BRANCH,

    /** The committee. */
    @SerialName("committee")
    COMMITTEE,

    /** The committee and reviewers of the upper body. */
    @SerialName("oversight")
    OVERSIGHT,

    /** One member and the committee. */
    @SerialName("mailbox_committee")
    MAILBOX_COMMITTEE,

    /** One member and the reviewers of the upper body. */
    @SerialName("mailbox_upper")
    MAILBOX_UPPER,
}

/** A document as a space lists it: enough for a list that opens without opening documents. */
@Serializable
public data class ListedDocument(
    /** What kind of document: `dinh.minutes/1`. */
    public val schema: String,
    /** The document that it was made from: the draft of a resolution, the resolution of a round. */
    public val of: String?,
    /** Its month, `YYYY-MM`, if it has one. */
    public val period: String?,
    /** Which kind of its schema: `regular` or `thematic` minutes, the number of a round. */
    public val kind: String?,
    /** Who created it: a member. */
    public val by: String,
    /** The document that it turned out to be one with, which is the one to use; nothing if it stands for itself. */
    @SerialName("same_as") public val sameAs: Register<String>,
)

/** A number that a document got. */
@Serializable
public data class GivenNumber(
    /** The number, from 1. */
    @Serializable(with = CountSerializer::class) public val number: Int,
    /** In which line: of a type of documents and a term of the branch. */
    public val line: String,
    /** How many numbers who gave it knew of: of two equal ones, the one that knew of fewer keeps it. */
    @Serializable(with = CountSerializer::class) public val known: Int,
)

/** A seal as the book of its space has it. */
@Serializable
public data class IndexedSeal(
    /** Its hash. */
    public val hash: String,
    /** The hashes of the seals that it follows. */
    public val previous: List<String>,
)

internal object IndexedSealSerializer : TupleSerializer<IndexedSeal>(IndexedSeal.serializer(), "hash", "previous")

/** What a space holds, as it is now. */
@Serializable
public data class SpaceIndex(
    /** For whom the space is; null if this library does not know. */
    public val purpose: SpacePurpose?,
    /** Whose mailbox it is, if it is one: a member. */
    public val member: String?,
    /** The documents, by id. */
    public val documents: Map<String, ListedDocument>,
    /** Numbers that documents got, by document. */
    public val numbers: Map<String, Register<GivenNumber>>,
    /** The book of seals, by document. */
    public val seals: Map<String, @Serializable(with = IndexedSealSerializer::class) IndexedSeal>,
)
