package dinh

import dinh.ffi.Command
import dinh.ffi.SnapshotKind
import dinh.model.BlockQuote
import dinh.model.CommentSeverity
import dinh.model.Review
import dinh.model.Round
import kotlinx.serialization.builtins.nullable

/** A frozen round of a consultation, as reviewers read it: null until it is here. Nobody writes in it. */
public class RoundDocument internal constructor(client: Client, id: String) :
    ModelDocument<Round?>(client, id, SnapshotKind.ROUND, Round.serializer().nullable)

/** What reviewers of an upper body say about a resolution, round by round. They never write in the branch's text. */
public class ReviewDocument internal constructor(client: Client, id: String) :
    ModelDocument<Review>(client, id, SnapshotKind.REVIEW, Review.serializer()) {
    /**
     * Comments on a round, or answers a comment. Gives the comment's id.
     *
     * @param quote the words of the round that it is about.
     * @param answers the comment that it answers.
     */
    public suspend fun comment(
        round: Int,
        severity: CommentSeverity,
        text: String,
        quote: BlockQuote? = null,
        answers: String? = null,
    ): String {
        val weight = dinh.ffi.CommentSeverity.valueOf(severity.name)
        return make(Command.Comment(count(round), weight, quote?.block, quote?.quote, answers, text))
    }

    /** Says through which body the remarks went to the branch, if they do not go directly. */
    public suspend fun setVia(body: String): Unit = act(Command.SetVia(body))

    /** Takes a step of the review of a round. Gives the event's id. [kind]: one of [dinh.model.ReviewSteps]. */
    public suspend fun stepReview(kind: String, round: Int): String = make(Command.StepReview(kind, count(round)))
}

/** A frozen round: nothing is read until it is used. */
public fun Client.round(id: String): RoundDocument = RoundDocument(this, id)

/** A review: nothing is read until it is used. */
public fun Client.review(id: String): ReviewDocument = ReviewDocument(this, id)
