package dinh.model

import dinh.Path
import kotlinx.serialization.SerialName
import kotlinx.serialization.Serializable

/** Where a resolution is in its life. */
@Serializable
public enum class ResolutionState {
    /** The committee writes it. */
    @SerialName("drafting")
    DRAFTING,

    /** The committee looks it over. */
    @SerialName("committee_review")
    COMMITTEE_REVIEW,

    /** Members and reviewers read a round of it. */
    @SerialName("consulting")
    CONSULTING,

    /** Its text is fixed for the debate. */
    @SerialName("tabled")
    TABLED,

    /** The vote was for it. */
    @SerialName("adopted")
    ADOPTED,

    /** The vote was against it. */
    @SerialName("rejected")
    REJECTED,

    /** Put off to another meeting. */
    @SerialName("deferred")
    DEFERRED,

    /** It has number, date and signature, and is sealed. */
    @SerialName("issued")
    ISSUED,

    /** It holds. */
    @SerialName("in_force")
    IN_FORCE,

    /** Everything it asks for is done. */
    @SerialName("completed")
    COMPLETED,

    /** Another one holds instead. */
    @SerialName("superseded")
    SUPERSEDED,

    /** Taken back. */
    @SerialName("revoked")
    REVOKED,

    /** Given up before the vote. */
    @SerialName("withdrawn")
    WITHDRAWN,
}

/**
 * The steps in the life of a resolution. Those that need nothing with them are for `ResolutionDocument.step`; the others are taken by
 * what is named at each, which looks up what they need, and are here to be recognised in its life.
 */
public object ResolutionSteps {
    /** The committee looked it over: from drafting. */
    public const val COMMITTEE_REVIEW: String = "committee_review"

    /** A round is open. Taken by `Branch.openRound`. */
    public const val CONSULTING: String = "consulting"

    /** Back to the committee: from deferred by a step, from consulting by `Branch.takeBack`. */
    public const val DRAFTING: String = "drafting"

    /** Before the meeting. Taken by `ResolutionDocument.table`. */
    public const val TABLED: String = "tabled"

    /**
     * Changed in the debate; it stays tabled. What is debated now is the document as it is now, or as it was at `heads`, with spaces
     * between them.
     */
    public const val AMENDED_ON_FLOOR: String = "amended_on_floor"

    /** The vote carried. Taken by `ResolutionDocument.decide`. */
    public const val ADOPTED: String = "adopted"

    /** The vote did not carry. Taken by `ResolutionDocument.decide`. */
    public const val REJECTED: String = "rejected"

    /** Put off to another meeting: from tabled. */
    public const val DEFERRED: String = "deferred"

    /** Given up before the vote: from drafting or consulting. */
    public const val WITHDRAWN: String = "withdrawn"

    /** It has its number. Taken by `Branch.issue`. */
    public const val ISSUED: String = "issued"

    /** It holds: from issued. */
    public const val IN_FORCE: String = "in_force"

    /** Everything it asks for is done: from in force. */
    public const val COMPLETED: String = "completed"

    /** Another one holds instead. Taken by `ResolutionDocument.followUp`. */
    public const val SUPERSEDED: String = "superseded"

    /** Taken back by another one. Taken by `ResolutionDocument.followUp`. */
    public const val REVOKED: String = "revoked"

    /** An officer chose one of several events that contradict each other. Taken by `ResolutionDocument.resolve`. */
    public const val RESOLVE: String = "resolve"
}

/** What a resolution rests on. */
@Serializable
public data class LegalBasis(
    /** Its id. */
    public val id: String,
    /** What it says. To be typed in where [textPath] says. */
    public val text: String,
) {
    /** Where its text is in the document: for `document.bindText(basis.textPath)`. */
    public val textPath: Path
        get() = Path("legal_bases", id)
}

internal object LegalBasesSerializer : TextsSerializer<LegalBasis>(LegalBasis.serializer())

/** Who gets a resolution. */
@Serializable
public data class Recipient(
    /** Its id. */
    public val id: String,
    /** Who. */
    public val text: Register<String>,
)

internal object RecipientsSerializer : TextsSerializer<Recipient>(Recipient.serializer())

/** Who signs a resolution, as the form shows it. */
@Serializable
public data class ResolutionSignature(
    /** For whom: `T/M CHI BỘ`. */
    public val authority: Register<String>,
    /** The post: `BÍ THƯ`. */
    public val title: Register<String>,
    /** Who: a member. */
    public val signer: Register<String>,
)

/** The number and the date under which a resolution was issued. */
@Serializable
public data class Issued(
    /** The number. */
    public val number: String,
    /** The date, `YYYY-MM-DD`. */
    public val date: String,
)

internal object IssuedSerializer : TupleSerializer<Issued>(Issued.serializer(), "number", "date")

/** A resolution, or the draft of one, as it is now. */
@Serializable
public data class Resolution(
    /** The month of the meeting, `YYYY-MM`. */
    public val period: Register<String>,
    /** The parts of the form's head, by name: `issuing_org`, `type_name`, … */
    public val header: Map<String, Register<String>>,
    /** On what it rests, oldest first. */
    @SerialName("legal_bases")
    @Serializable(with = LegalBasesSerializer::class)
    public val legalBases: List<LegalBasis>,
    /** The words that enact it. */
    @SerialName("enacting_clause") public val enactingClause: Register<String>,
    /** The prose. */
    public val outline: Outline,
    /** Who does what by when. */
    public val assignments: List<Assignment>,
    /** Who signs. */
    public val signature: ResolutionSignature,
    /** Who gets it, oldest first. */
    @Serializable(with = RecipientsSerializer::class) public val recipients: List<Recipient>,
    /** What members propose, oldest first. */
    public val suggestions: List<Suggestion>,
    /** Which round each member has read last. */
    public val read: Map<String, Register<@Serializable(with = CountSerializer::class) Int>>,
    /** The number that it got. */
    public val number: Register<String>,
    /** Number and date under which it was issued; null if it was not. */
    @Serializable(with = IssuedSerializer::class) public val issued: Issued?,
    /** Where it stands. */
    public val life: Life<ResolutionState>,
    /** How many rounds were put to consultation. */
    @Serializable(with = CountSerializer::class) public val round: Int,
    /** The seals that stand in it: more than one if two officers sealed it without knowing of each other. */
    public val seals: Register<Seal>,
)
