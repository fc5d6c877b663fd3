package dinh.model

import dinh.Value
import kotlinx.serialization.builtins.serializer
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

class PartsTest {
    private val texts = Register.serializer(String.serializer())

    @Test
    fun aRegisterShowsItsFirstValueAndKeepsTheOthers() {
        val nothing = read(texts, "[]")
        assertNull(nothing.value)
        assertNull(nothing.by)
        assertFalse(nothing.isContested)

        val one = read(texts, one("\"Nhà văn hóa\""))
        assertEquals("Nhà văn hóa", one.value)
        assertEquals(Writer(LAN, PHONE), one.by)
        assertFalse(one.isContested)

        val same = read(texts, """[{"value":"A","by":null},{"value":"A","by":null}]""")
        assertFalse(same.isContested)
        val two = read(texts, """[{"value":"A","by":null},{"value":"B","by":{"member":"$MINH","device":"$PHONE"}}]""")
        assertTrue(two.isContested)
        assertEquals("A", two.value)
        assertNull(two.by)
        assertEquals(listOf("A", "B"), two.all.map { it.value })
    }

    @Test
    fun typesAreStrictAndUnknownKeysArePassedOver() {
        assertEquals("A", read(texts, """[{"value":"A","by":null,"newer":[1,{"x":null}]}]""").value)
        refuse(texts, """[{"value":1,"by":null}]""")
        refuse(texts, """[{"value":null,"by":null}]""")
        refuse(texts, """[{"value":"A"}]""")
        refuse(texts, "\"A\"")
        refuse(texts, "null")
        refuse(Register.serializer(BallotChoice.serializer()), anonymous("\"maybe\""))
        refuse(Register.serializer(Boolean.serializer()), anonymous("1"))
    }

    @Test
    fun aNumberThatIsTooLargeToBeTrueHarmsNothing() {
        val tally = read(VoteTally.serializer(), """{"yes":4294967295,"no":0,"abstain":2}""")
        assertEquals(VoteTally(Int.MAX_VALUE, 0, 2), tally)
        refuse(VoteTally.serializer(), """{"yes":1.5,"no":0,"abstain":2}""")
    }

    @Test
    fun aLifeStandsSomewhereOrIsDisputed() {
        val lives = Life.serializer(MinutesState.serializer())
        val open = read(lives, life("\"open\""))
        assertEquals(MinutesState.OPEN, open.state)
        assertEquals(LifeStatus.At(MinutesState.OPEN), open.status)
        assertEquals(listOf("e1"), open.counted)
        assertEquals(listOf("e1"), open.heads)

        val disputed =
            read(
                lives,
                """{"status":{"disputed":[["e1","postponed"],["e2","cancelled"]]},"counted":["e1","e2"],"not_counted":{
                "e3":{"why":"step","from":"Planned"},"e4":{"why":"guard","what":"time"},"e5":{"why":"disputed"},
                "e6":{"why":"nothing_to_settle"},"e7":{"why":"circular"}},"waiting":["e8"],"heads":["e1","e2"]}""",
            )
        assertNull(disputed.state)
        val sides =
            listOf(
                LifeStatus.Side("e1", MinutesState.POSTPONED),
                LifeStatus.Side("e2", MinutesState.CANCELLED),
            )
        assertEquals(LifeStatus.Disputed(sides), disputed.status)
        val reasons =
            mapOf(
                "e3" to NotCounted.Step("Planned"),
                "e4" to NotCounted.Missing("time"),
                "e5" to NotCounted.Disputed,
                "e6" to NotCounted.NothingToSettle,
                "e7" to NotCounted.Circular,
            )
        assertEquals(reasons, disputed.notCounted)
        assertEquals(setOf("e8"), disputed.waiting)

        refuse(lives, life("\"dancing\""))
        refuse(lives, life("\"open\"").replace("\"in\"", "\"newer\""))
        refuse(lives, life("\"open\"").replace("\"not_counted\":{}", "\"not_counted\":{\"e\":{\"why\":\"newer\"}}"))
    }

    @Test
    fun dataOfEventsAreValues() {
        val event =
            read(
                LifeEvent.serializer(),
                """{"id":"e1","kind":"adopted","by":"$LAN","at":1796301000000,"after":["e0"],"data":{"text":"19:30","blank":" ",
                "n":-5,"big":18446744073709551615,"float":1.5,"yes":true,"no":false,"none":null,"list":[1,"a",[]],
                "map":{"k":"v"},"digits":"12","truth":"true"}}""",
            )
        assertEquals(1_796_301_000_000, event.at)
        assertEquals(listOf("e0"), event.after)
        val expected =
            mapOf(
                "text" to Value.Str("19:30"),
                "blank" to Value.Str(" "),
                "n" to Value.Integer(-5),
                "big" to Value.Unsigned(-1),
                "float" to Value.Number(1.5),
                "yes" to Value.Bool(true),
                "no" to Value.Bool(false),
                "none" to Value.Null,
                "list" to Value.List(listOf(Value.Integer(1), Value.Str("a"), Value.emptyList)),
                "map" to Value.Map(mapOf("k" to Value.Str("v"))),
                "digits" to Value.Str("12"),
                "truth" to Value.Str("true"),
            )
        assertEquals(expected, event.data)
        assertEquals("19:30", event.text("text"))
        assertNull(event.text("blank"))
        assertNull(event.text("n"))
        assertNull(event.text("missing"))
    }
}
