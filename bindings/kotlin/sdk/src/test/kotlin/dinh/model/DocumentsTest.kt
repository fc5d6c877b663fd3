package dinh.model

import dinh.Path
import dinh.TextRange
import kotlinx.serialization.builtins.ListSerializer
import kotlinx.serialization.builtins.MapSerializer
import kotlinx.serialization.builtins.nullable
import kotlinx.serialization.builtins.serializer
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

class DocumentsTest {
    private fun resolution(issued: String): String =
        """{"period":${one("\"2026-12\"")},"header":{},"legal_bases":{"l1":"Căn cứ Điều lệ Đảng"},
        "enacting_clause":${one("\"QUYẾT NGHỊ\"")},"outline":$OUTLINE,"assignments":[$ASSIGNMENT],
        "signature":{"authority":${one("\"T/M CHI BỘ\"")},"title":[],"signer":${one("\"$LAN\"")}},
        "recipients":{"r1":${one("\"Đảng ủy xã\"")}},"suggestions":[{"id":"g1","by":"$MINH","at":1796301000000,"block":"b1",
        "quote":"Nhất trí","proposed":"Đồng ý","outcome":${one("\"accepted\"")},"place":{"changed":{"start":0,"end":6}}},
        {"id":"g2","by":"$MINH","at":1796301000001,"block":"b1","quote":".","proposed":"!","outcome":[],
        "place":{"here":{"start":8,"end":9}}},{"id":"g3","by":"$LAN","at":1796301000002,"block":"b9","quote":"x",
        "proposed":"y","outcome":[],"place":"gone"}],"read":{"$MINH":${one("2")}},"number":${one("\"07\"")},
        "issued":$issued,"life":${life("\"committee_review\"")},"round":2,"seals":[]}"""

    @Test
    fun resolutionsRead() {
        val found = read(Resolution.serializer(), resolution("[\"07\",\"2026-12-05\"]"))
        assertEquals(listOf(LegalBasis("l1", "Căn cứ Điều lệ Đảng")), found.legalBases)
        assertEquals(Path("legal_bases", "l1"), found.legalBases[0].textPath)
        assertEquals(listOf("Đảng ủy xã"), found.recipients.map { it.text.value })
        assertEquals(Issued("07", "2026-12-05"), found.issued)
        assertEquals(ResolutionState.COMMITTEE_REVIEW, found.life.state)
        assertEquals(listOf(SuggestionOutcome.ACCEPTED, null, null), found.suggestions.map { it.outcome.value })
        val places =
            listOf(
                SuggestionPlace.Changed(TextRange(0, 6)),
                SuggestionPlace.Here(TextRange(8, 9)),
                SuggestionPlace.Gone,
            )
        assertEquals(places, found.suggestions.map { it.place })
        assertEquals(2, found.read.getValue(MINH).value)
        assertEquals(LAN, found.signature.signer.value)
        assertNull(read(Resolution.serializer(), resolution("null")).issued)
        refuse(Resolution.serializer(), resolution("[\"07\"]"))
        refuse(SuggestionPlaceSerializer, "\"here\"")
        refuse(SuggestionPlaceSerializer, """{"newer":{"start":0,"end":1}}""")
    }

    @Test
    fun aRoundReadsOrIsNotHereYet() {
        val rounds = Round.serializer().nullable
        assertNull(read(rounds, "null"))
        val round =
            read(
                rounds,
                """{"subject":"$DOC","round":1,"heads":["aa","bb"],"preamble":["type_name: NGHỊ QUYẾT"],
                "sections":[{"heading":"I. Nhiệm vụ","blocks":[["b1","Làm đường."],["b2",""]]}],
                "assignments":[["Vận động","$LAN,$MINH","4 hộ","2026-12-20"],["Đo lại mốc","","",""]]}""",
            )
        assertEquals(listOf(RoundBlock("b1", "Làm đường."), RoundBlock("b2", "")), round?.sections?.get(0)?.blocks)
        assertEquals(listOf(listOf(LAN, MINH), listOf()), round?.assignments?.map { it.owners })
        assertEquals("2026-12-20", round?.assignments?.get(0)?.due)
    }

    @Test
    fun reviewsRead() {
        fun review(state: String): String =
            """{"subject":${one("\"$DOC\"")},"via":[],"comments":[{"id":"c1","by":"$LAN","at":1796301000000,"round":1,
            "severity":"must_fix","quote":["b1","Làm đường"],"answers":null,"text":"Ghi rõ thời hạn."},{"id":"c2","by":"$MINH",
            "at":1796301000001,"round":1,"severity":"reply","quote":null,"answers":"c1","text":"Đã ghi."}],
            "life":${life(state)}}"""
        val found = read(Review.serializer(), review("""{"commented":1}"""))
        assertEquals(ReviewState.Commented(1), found.life.state)
        assertEquals(listOf(BlockQuote("b1", "Làm đường"), null), found.comments.map { it.quote })
        assertEquals(listOf(null, "c1"), found.comments.map { it.answers })
        assertEquals(CommentSeverity.MUST_FIX, found.comments[0].severity)
        assertEquals(ReviewState.NotRequested, read(Review.serializer(), review("\"none\"")).life.state)
        assertEquals(ReviewState.Requested(2), read(Review.serializer(), review("""{"requested":2}""")).life.state)
        assertEquals(ReviewState.Returned(2), read(Review.serializer(), review("""{"returned":2}""")).life.state)
        assertEquals(ReviewState.Cleared(3), read(Review.serializer(), review("""{"cleared":3}""")).life.state)
        refuse(Review.serializer(), review("\"requested\""))
        refuse(Review.serializer(), review("""{"newer":1}"""))
    }

    @Test
    fun threadsRead() {
        fun thread(state: String): String =
            """[{"id":"t1","kind":"draft_comment","title":"Góp ý","author":"$MINH","by":"$LAN","at":1796301000000,
            "subject":null,"messages":[{"id":"g1","by":"$LAN","on_behalf_of":"$MINH","at":1796301000000,"text":"Thu theo hộ.","language":"ium"}],"life":${life(state)},
            "handler":${one("\"$LAN\"")},"due":"2026-12-20"}]"""
        val threads = ListSerializer(FeedbackThread.serializer())
        val open = read(threads, thread("\"in_progress\""))[0]
        assertEquals(FeedbackKind.DRAFT_COMMENT, open.kind)
        assertEquals(MINH, open.messages[0].onBehalfOf)
        assertEquals(listOf(MINH, LAN), listOf(open.author, open.by))
        assertEquals(1_796_301_000_000, open.at)
        assertTrue(open.isOverdue("2026-12-21"))
        assertFalse(open.isOverdue("2026-12-20"))
        val answered = read(threads, thread("\"answered\""))[0]
        assertEquals(true, answered.life.state?.isAnswered)
        assertFalse(answered.isOverdue("2026-12-21"))
        assertEquals(listOf<FeedbackThread>(), read(threads, "[]"))
    }

    @Test
    fun attendanceReads() {
        val found =
            read(
                Attendance.serializer(),
                """{"entries":{"$LAN":{"checked_in":${one("""{"at":1796301000000,"way":"qr"}""")},"mark":${one("\"present\"")},
                "reason":[],"late_at":${one("1796301600000")},"left_at":[]},"$MINH":{"checked_in":[{"value":{"at":1,"way":"audio"},
                "by":null}],"mark":[],"reason":${one("\"ốm\"")},"late_at":[],"left_at":[]}}}""",
            )
        assertEquals(CheckIn(1_796_301_000_000, CheckInWay.QR), found.entries.getValue(LAN).checkedIn.value)
        assertEquals(1_796_301_600_000, found.entries.getValue(LAN).lateAt.value)
        assertEquals(mapOf(LAN to AttendanceMark.PRESENT), found.marks)
        assertEquals(setOf(MINH), found.unconfirmed)
        assertEquals(19, read(AttendanceSummary.serializer(), SUMMARY).total)
    }

    @Test
    fun rostersRead() {
        val person =
            """{"name":"Lương Thị Mai","post":"","standing":"probationary","is_exempt":false,"is_away":true,"language":"tyz",
            "has_phone":true}"""
        val found =
            read(
                Roster.serializer(),
                """{"authority":${one("\"Ban Tổ chức\"")},"at":${one("1796301000000")},"people":{"$LAN":${one(person)},
                "$MINH":[]},"by_name":["$LAN"]}""",
            )
        assertEquals(setOf(LAN), found.shown.keys)
        assertEquals(listOf(LAN), found.byName)
        val mai = found.shown.getValue(LAN)
        assertEquals(Person("Lương Thị Mai", "", PersonStanding.PROBATIONARY, false, true, "tyz", true), mai)
        assertFalse(mai.standing.isOfficial)
    }

    @Test
    fun questionsRead() {
        val closed = """{"tally":{"yes":1,"no":0,"abstain":1},"voters":2,"by":"$LAN","at":1796301600000}"""
        val found =
            read(
                ListSerializer(Question.serializer()),
                """[{"id":"q1","title":"Đồng ý?","at":1796301000000,"ballots":{"$LAN":${one("\"yes\"")},
                "$MINH":${one("\"abstain\"")}},"closed":${one(closed)}},
                {"id":"q2","title":"","at":0,"ballots":{},"closed":[]}]""",
            )
        assertEquals(BallotChoice.ABSTAIN, found[0].ballots.getValue(MINH).value)
        assertEquals(ClosedQuestion(VoteTally(1, 0, 1), 2, LAN, 1_796_301_600_000), found[0].closed.value)
        assertEquals(listOf(1_796_301_000_000L, 0L), found.map { it.at })
        assertEquals(listOf(false, true), found.map { it.isOpen })
    }

    @Test
    fun tasksRead() {
        fun task(status: String): String =
            """[{"id":"k1","title":${one("\"Trồng hoa\"")},"owners":${one("[\"$LAN\"]")},"due":${one("\"2026-12-20\"")},
            "from":${one("\"$DOC#a1\"")},"status":${one(status)},"progress":[{"id":"p1","by":"$LAN","at":1796301000000,
            "percent":40,"text":"80 m"},{"id":"p2","by":"$LAN","at":1796301000001,"percent":null,"text":"Mưa"}]}]"""
        val tasks = ListSerializer(GivenTask.serializer())
        val open = read(tasks, task("\"open\""))[0]
        assertEquals(listOf(40, null), open.progress.map { it.percent })
        assertTrue(open.isOverdue("2026-12-21"))
        assertFalse(open.isOverdue("2026-12-20"))
        assertFalse(read(tasks, task("\"done\""))[0].isOverdue("2026-12-21"))
    }

    @Test
    fun noticesRead() {
        val found =
            read(
                Notice.serializer(),
                """{"title":${one("\"Thu gom vỏ bao\"")},"text":"Sáng thứ Bảy.","until":[],"read":{"$MINH":${one("1796301000000")}}}""",
            )
        assertEquals("Sáng thứ Bảy.", found.text)
        assertEquals(Path("text"), found.textPath)
        assertEquals(1_796_301_000_000, found.read.getValue(MINH).value)
    }

    @Test
    fun digestsRead() {
        val digest =
            """{"branch":${one("\"Chi bộ thôn Nà Mận\"")},"months":{"2026-11":{"state":null,"counts":{},"updated_at":null},
            "2026-12":{"state":"consulting","counts":{"round":2,"open_feedback":1},"updated_at":1796301000000}}}"""
        val found = read(Digest.serializer(), digest)
        val counts = mapOf(DigestCount.ROUND to 2, DigestCount.OPEN_FEEDBACK to 1)
        assertEquals(DigestMonth("consulting", counts, 1_796_301_000_000), found.months["2026-12"])
        assertEquals(DigestMonth(null, mapOf(), null), found.months["2026-11"])
        refuse(Digest.serializer(), digest.replace("open_feedback", "newer"))
        val all = read(ListSerializer(BranchDigestSerializer), "[[\"$LAN\",$digest]]")
        assertEquals(listOf(BranchDigest(LAN, found)), all)
    }

    @Test
    fun indexesRead() {
        val found =
            read(
                SpaceIndex.serializer(),
                """{"purpose":"mailbox_upper","member":"$MINH","documents":{"$DOC":{"schema":"dinh.minutes/1","of":null,
                "period":"2026-12","kind":"regular","by":"$LAN","same_as":[]}},
                "numbers":{"$DOC":${one("""{"number":7,"line":"NQ","known":6}""")}},"seals":{"$DOC":["cc",["bb"]]}}""",
            )
        assertEquals(SpacePurpose.MAILBOX_UPPER, found.purpose)
        assertEquals("dinh.minutes/1", found.documents.getValue(DOC).schema)
        assertEquals(GivenNumber(7, "NQ", 6), found.numbers.getValue(DOC).value)
        assertEquals(IndexedSeal("cc", listOf("bb")), found.seals.getValue(DOC))
        val empty = """{"purpose":null,"member":null,"documents":{},"numbers":{},"seals":{}}"""
        assertNull(read(SpaceIndex.serializer(), empty).purpose)
    }

    @Test
    fun sealsOverlapsAndAmendmentsRead() {
        val seals = Sealed.serializer().nullable
        assertNull(read(seals, "null"))
        val late =
            """{"change":"dd","by":{"member":"$MINH","device":"$PHONE"},"time_s":1796301000,"field":["blocks","b1","text"],
            "before":"","after":"quý I","became":null}"""
        val found =
            read(seals, """{"seal":$SEAL,"hash":"ee","verified":"incomplete","late":[$late]}""")
        assertEquals(SealVerdict.INCOMPLETE, found?.verified)
        assertEquals("b1", found?.late?.get(0)?.block)
        assertEquals(1_796_301_000, found?.late?.get(0)?.timeSeconds)
        assertNull(found?.late?.get(0)?.became)

        val overlaps = read(ListSerializer(Overlap.serializer()), """[{"block":"b1","members":["$LAN","$MINH"]}]""")
        assertEquals(listOf(Overlap("b1", setOf(LAN, MINH))), overlaps)

        val amendments = MapSerializer(String.serializer(), Amendment.serializer())
        val amended = read(amendments, """{"$DOC":{"relation":"supersedes","seal":"ee"}}""")
        assertEquals(mapOf(DOC to Amendment(AmendmentRelation.SUPERSEDES, "ee")), amended)
    }
}
