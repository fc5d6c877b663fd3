"""Snapshots of each kind, out of a branch's month: what the Kotlin and Swift layers must be able to read.

`testdata/snapshots/*.json` are such snapshots. The test compares their shape (keys and kinds of values) with what the library gives
now; DINH_WRITE_SAMPLES=1 writes them.
"""

import json
import os
import pathlib

import dinh
from dinh import Command, Place, SnapshotKind

SAMPLES = pathlib.Path(__file__).parents[2] / "testdata" / "snapshots"


async def papers(player):
    """Goes on after the story, on An's phone and Binh's: gives a document of each kind."""
    an, binh, branch = player.clients["an"], player.clients["binh"], player.kept["branch"]
    standing, member = player.kept["branch_papers"], player.kept["binh"]
    found = {"minutes": player.kept["meeting"].minutes, "seal": player.kept["meeting"].minutes, "index": standing.members_index}
    found |= {"roster": standing.roster, "digest": standing.digest, "tasks": standing.tasks, "threads": player.kept["mailbox"]}
    found |= {"attendance": player.kept["meeting"].attendance, "questions": player.kept["meeting"].votebox}

    mailbox, thread = player.kept["mailbox"], player.kept["thread"]
    await an.act(mailbox, Command.SET_HANDLER(thread, player.kept["an"]))
    await an.act(mailbox, Command.STEP_THREAD(thread, "acknowledged", {}))
    await an.act(mailbox, Command.SAY(thread, "Chi ủy đã nhận.", "vi", None))

    task = await an.act(standing.tasks, Command.GIVE_TASK("Lập dự toán", [member], "2026-12-20", "minutes"))
    await an.act(standing.tasks, Command.REPORT_TASK(task, 40, "Đã đo xong"))
    found["notice"] = await an.post_notice(branch, dinh.Room.MEMBERS, "Họp chi bộ", "19 giờ 30, nhà văn hóa", "2026-12-31")
    await an.act(found["notice"], Command.HAS_READ_NOTICE())

    # The next meeting: questions, everything that minutes hold, and two who write in one block without knowing of each other.
    new = dinh.NewMeeting(
        meeting="2027-01", period="2027-01", kind=dinh.MeetingKind.REGULAR, header={"type_name": "BIÊN BẢN"},
        chair=player.kept["an"], recorder=player.kept["an"],
    )
    meeting = await an.begin_meeting(branch, new)
    minutes, present = meeting.minutes, dinh.AttendanceMark.PRESENT
    called = {"time": "2027-01-05T19:30:00+07:00", "place": "Nhà văn hóa thôn", "agenda": "Đường thôn"}
    await an.act(minutes, Command.STEP("convened", called))
    await an.act(minutes, Command.STEP("open", {"recorder": player.kept["an"]}))
    for who in ("an", "binh"):
        await an.act(meeting.attendance, Command.MARK_ATTENDANCE(player.kept[who], present, None))
    await an.act(meeting.attendance, Command.CHECK_IN(member, dinh.CheckInWay.QR))
    found["attendance"] = meeting.attendance
    question = await an.act(meeting.votebox, Command.ASK("Đồng ý mức đóng góp?"))
    await an.act(meeting.votebox, Command.CAST(question, dinh.BallotChoice.YES))
    await an.close_question(meeting.votebox, standing.roster, meeting.attendance, question)
    found["questions"] = meeting.votebox
    section = await an.act(minutes, Command.ADD_SECTION("Thảo luận", Place.LAST()))
    block = await an.act(minutes, Command.ADD_BLOCK(section, "speech", "Nên làm trước Tết.", member, Place.LAST()))
    await an.act(minutes, Command.SET_SPEAKER(block, member, "hmn", player.kept["an"]))
    await an.act(minutes, Command.SET_FIELD(dinh.path("venue"), dinh.value("Nhà văn hóa thôn")))
    await an.act(minutes, Command.ADD_AGENDA_ITEM("Đường thôn", member, Place.LAST()))
    await an.act(minutes, Command.ADD_GUEST("Phạm Văn Dũng", "Phó Bí thư", "Đảng ủy xã"))
    await an.act(minutes, Command.ASSIGN("Vận động", [member], "13 hộ", "2027-02-01"))
    motion = await an.act(minutes, Command.MOVE_MOTION("Mức đóng góp", dinh.VoteThreshold.TWO_THIRDS))
    tally, slips = dinh.VoteTally(yes=2, no=0, abstain=0), dinh.BallotSlips(issued=2, returned=2, valid=2)
    count = dinh.NewCount(
        motion=motion, method=dinh.VoteMethod.SECRET_BALLOT, threshold=dinh.VoteThreshold.TWO_THIRDS, tally=tally, slips=slips)
    vote = await an.record_count(minutes, standing.roster, meeting.attendance, count)
    await an.act(minutes, Command.ADD_DECISION("Mỗi hộ 1.500.000 đồng", vote))
    await an.act(minutes, Command.SCORE("attendance", 10))
    await an.act(minutes, Command.SIGN("chair"))
    await an.add_document_used(minutes, "Kế hoạch", found["notice"])
    await an.act(minutes, Command.ASK_WORDS(block))
    await an.freeze_attendance(minutes, standing.roster, meeting.attendance)
    await an.amend(minutes, found["seal"], dinh.AmendmentRelation.ADDS)
    await an.name_recorder(minutes, member)
    found["minutes"] = found["events"] = found["amended"] = minutes
    await player.sync({"clients": ["an", "binh"]})
    await binh.act(minutes, Command.CONFIRM_WORDS(block))
    for client in ("an", "binh"):
        await player.disconnect({"client": client})
    at = dinh.path("blocks", block, "text")
    for client, text in ((an, "Nên làm trước Tết Nguyên đán."), (binh, "Nên làm ngay trước Tết.")):
        await client.write(minutes, [dinh.Write.SET_TEXT(at, text)], None)
    for client in ("an", "binh"):
        await player.connect({"client": client})
    await player.sync({"clients": ["an", "binh", "an"]})
    found["overlaps"] = minutes

    # A consultation on a draft, up to its adoption.
    draft = await an.begin_draft(branch, "2027-01", {"title": "Về đường thôn"})
    section = await an.act(draft, Command.ADD_SECTION("Điều 1", Place.LAST()))
    block = await an.act(draft, Command.ADD_BLOCK(section, "clause", "Làm 200 m đường.", None, Place.LAST()))
    await an.act(draft, Command.ADD_LEGAL_BASIS("Điều lệ"))
    await an.act(draft, Command.SET_ENACTING_CLAUSE("QUYẾT NGHỊ"))
    await an.act(draft, Command.ADD_RECIPIENT("Đảng ủy xã"))
    await an.act(draft, Command.SET_SIGNATURE("T/M CHI BỘ", "BÍ THƯ", player.kept["an"]))
    await an.act(draft, Command.STEP("committee_review", {}))
    opened = await an.open_round(branch, draft)
    found |= {"round": opened.frozen, "review": opened.review, "resolution": opened.resolution}
    comment = Command.COMMENT(opened.round, dinh.CommentSeverity.MUST_FIX, block, "200 m", None, "Ghi rõ đoạn nào.")
    first = await an.act(opened.review, comment)
    reply = Command.COMMENT(opened.round, dinh.CommentSeverity.REPLY, None, None, first, "Đoạn đầu tuyến.")
    await an.act(opened.review, reply)
    await an.act(opened.review, Command.SET_VIA("Đảng ủy xã"))
    resolution = json.loads(await an.snapshot(opened.resolution, SnapshotKind.RESOLUTION))
    clause = resolution["outline"]["sections"][0]["blocks"][0]["id"]
    suggested = await an.act(opened.resolution, Command.SUGGEST(clause, 4, 9, "250 m"))
    assert await an.accept_suggestion(opened.resolution, suggested) == dinh.Accepted.DONE
    await an.act(opened.resolution, Command.SUGGEST(clause, 0, 3, "Xây"))
    await an.act(opened.resolution, Command.HAS_READ_ROUND(opened.round))
    await an.act(opened.resolution, Command.ASSIGN("Vận động", [member], "13 hộ", "2027-02-01"))
    await an.table(opened.resolution, minutes)
    await an.keep_digest(branch, "2027-01-05")
    return found


def shape(found):
    """Which keys, and what kinds of values. What is below ids is in no order, as are the elements of a list."""
    match found:
        case dict():
            if found and all(len(key) >= 20 for key in found):
                return {"*": shape(list(found.values()))}
            return {key: shape(part) for key, part in sorted(found.items())}
        case list():
            parts = sorted({json.dumps(shape(part)) for part in found})
            return [json.loads(part) for part in parts]
        case bool():
            return "bool"
        case int() | float():
            return "number"
        case None:
            return "nothing"
    return "text"


async def check(player):
    docs = await papers(player)
    write = os.environ.get("DINH_WRITE_SAMPLES")
    kinds = {kind.name.lower(): kind for kind in SnapshotKind}
    assert docs.keys() == kinds.keys(), docs.keys() ^ kinds.keys()
    for name, doc in docs.items():
        found = await dinh.snapshot(player.clients["an"], doc, kinds[name])
        assert found, f"{name} is empty"
        at = SAMPLES / f"{name}.json"
        if write:
            at.write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n")
        kept = json.loads(at.read_text())
        assert shape(found) == shape(kept), f"{at} has another shape: {shape(kept)} and now {shape(found)}"
