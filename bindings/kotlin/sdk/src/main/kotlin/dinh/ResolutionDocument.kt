package dinh

import dinh.ffi.Command
import dinh.ffi.SnapshotKind
import dinh.model.Resolution
import dinh.model.ResolutionSteps

/** What becomes of a suggestion that is accepted. */
public enum class Accepted {
    /** It stands in the text. */
    DONE,

    /** Something else stands there now: nothing was written. Look, and type it. */
    CHANGED,
}

/**
 * A resolution, or the draft of one: written by the committee, discussed by the members, adopted by the branch, issued, sealed.
 *
 * Texts that are typed in: `Path("blocks", id, "text")`, `Path("sections", id, "heading")`, `Path("legal_bases", id)`. Everything
 * else is set as a whole.
 */
public class ResolutionDocument internal constructor(client: Client, id: String) :
    OutlineDocument<Resolution>(client, id, SnapshotKind.RESOLUTION, Resolution.serializer()) {
    /** Says that this device's member has read a round. */
    public suspend fun hasReadRound(round: Int): Unit = act(Command.HasReadRound(count(round)))

    /** Adds what it rests on (`Căn cứ …`). Gives its id. */
    public suspend fun addLegalBasis(text: String): String = make(Command.AddLegalBasis(text))

    /** Sets the words that enact it. */
    public suspend fun setEnactingClause(text: String): Unit = act(Command.SetEnactingClause(text))

    /** Says who gets it. Gives the recipient's id. */
    public suspend fun addRecipient(text: String): String = make(Command.AddRecipient(text))

    /** Says who signs it: for whom (`T/M CHI BỘ`), as what (`BÍ THƯ`), and the member. */
    public suspend fun setSignature(authority: String, title: String, signer: String): Unit =
        act(Command.SetSignature(authority, title, signer))

    /**
     * Proposes another text for a stretch of a block. Gives the suggestion's id. It finds its place after other changes.
     *
     * @param range UTF-16 code units of the block's text; not empty.
     */
    public suspend fun suggest(block: String, range: IntRange, proposed: String): String =
        make(Command.Suggest(block, units(range.first), units(range.last + 1), proposed))

    /** Puts a suggestion into the text. Its author is named in the change. */
    public suspend fun acceptSuggestion(suggestion: String): Accepted =
        Accepted.valueOf(native { client.ffi.acceptSuggestion(id, suggestion) }.name)

    /** Says that a suggestion is not taken. */
    public suspend fun declineSuggestion(suggestion: String): Unit = act(Command.DeclineSuggestion(suggestion))

    /** Tables it as it is now, in the meeting of these minutes. Members must have been consulted, and the meeting be open. */
    public suspend fun table(minutes: MinutesDocument): Unit = native { client.ffi.table(id, minutes.id) }

    /**
     * Says what a motion about it came to: adopted if the count that holds carried, otherwise rejected. By somebody else than who
     * wrote the count down.
     */
    public suspend fun decide(motion: String, minutes: MinutesDocument): Unit =
        native { client.ffi.decide(id, minutes.id, motion) }

    /** Settles a dispute about where the resolution is. Gives the event's id. By an officer. [choose]: the event that holds. */
    public suspend fun resolve(choose: String): String = step(ResolutionSteps.RESOLVE, mapOf("choose" to choose))
}

/** A resolution, or the draft of one: nothing is read until it is used. */
public fun Client.resolution(id: String): ResolutionDocument = ResolutionDocument(this, id)
