"""Plays testdata/scenario.json: over the real library, a real relay process, real files and sockets.

Run by bindings/test.sh. DINH_RELAY names the relay's program.
"""

import asyncio
import json
import os
import pathlib
import re
import subprocess
import tempfile
import unittest

import dinh
import samples
from dinh import DinhError, SnapshotKind, path, plain

STORY = pathlib.Path(__file__).parents[2] / "testdata" / "scenario.json"
KINDS = {
    "closed": DinhError.Closed, "locked": DinhError.Locked, "store": DinhError.Store, "not_found": DinhError.NotFound,
    "not_allowed": DinhError.NotAllowed, "refused": DinhError.Refused, "invalid": DinhError.Invalid,
    "bad_code": DinhError.BadCode, "not_ready": DinhError.NotReady,
}
WAIT_S = 60


def write(step):
    where = {key: path(*step[key]) for key in ("put", "text", "push", "splice") if key in step}
    match where:
        case {"put": at}:
            return dinh.Write.PUT(at, dinh.value(step["value"]))
        case {"text": at}:
            return dinh.Write.PUT(at, dinh.Value.TEXT(step["value"]))
        case {"push": at}:
            return dinh.Write.PUSH(at, dinh.value(step["value"]))
        case {"splice": at}:
            return dinh.Write.SPLICE_TEXT(at, dinh.TextSplice(index=step["index"], delete=step["delete"], insert=step["insert"]))


def difference(old, new):
    """The replacement that made `new` of `old`, in UTF-16 code units."""
    a, b = (text.encode("utf-16-le") for text in (old, new))
    a, b = ([text[i : i + 2] for i in range(0, len(text), 2)] for text in (a, b))
    head = 0
    while head < min(len(a), len(b)) and a[head] == b[head]:
        head += 1
    tail = 0
    while tail < min(len(a), len(b)) - head and a[-1 - tail] == b[-1 - tail]:
        tail += 1
    insert = b"".join(b[head : len(b) - tail]).decode("utf-16-le")
    return dinh.TextSplice(index=head, delete=len(a) - tail - head, insert=insert)


class Player:
    def __init__(self, folder):
        self.folder, self.kept = folder, {}
        self.clients, self.secrets, self.process = {}, {}, None

    def resolved(self, value):
        """A step with what `$name` stands for."""
        if isinstance(value, dict):
            return {key: self.resolved(part) for key, part in value.items()}
        if isinstance(value, list):
            return [self.resolved(part) for part in value]
        if not isinstance(value, str):
            return value
        whole = re.fullmatch(r"\$([\w.:]+)", value)
        return self.named(whole[1]) if whole else re.sub(r"\$([\w.:]+)", lambda m: self.named(m[1]), value)

    def named(self, name):
        if name.startswith("join:"):
            return self.clients[name[5:]].join_code()
        name, *parts = name.split(".")
        found = self.kept[name]
        for part in parts:
            found = getattr(found, part)
        return found

    async def play(self, step):
        if "do" not in step:
            return
        fails = step.get("fails")
        try:
            made = await getattr(self, step["do"])(self.resolved(step))
        except DinhError as error:
            assert fails and isinstance(error, KINDS[fails]), f"failed with {error!r}"
            assert error.detail, "an error says what happened"
            return
        assert not fails, f"did not fail, and should have: {fails}"
        if "into" in step:
            assert made is not None, "made nothing"
            self.kept[step["into"]] = made

    # What steps do.

    async def open(self, step):
        name, store = step["client"], step.get("store", step["client"])
        if store not in self.kept:
            self.kept[store], self.secrets[store] = dinh.new_member_id(), dinh.generate_secrets()
        at = self.folder / store
        self.clients[name] = await dinh.open(f"{at}.redb", f"{at}.marker", self.secrets[store])

    async def found(self, step):
        client = self.clients[step["client"]]
        founded = await client.found_branch(self.kept[step["client"]], f"Máy của {step['client']}")
        assert len(founded.root_words.split()) == 24
        return founded.branch

    async def expect_code(self, step):
        assert dinh.code_kind(step["code"]).name.lower() == step["kind"]
        assert dinh.qr_png(step["code"], 4).startswith(b"\x89PNG") and "<svg" in dinh.qr_svg(step["code"])

    async def set_up(self, step):
        return await self.clients[step["client"]].set_up_branch(self.kept["branch"], step["name"])

    async def create(self, step):
        return await self.clients[step["client"]].create_document(step["space"], dinh.Writers.ALL)

    async def edit(self, step):
        changed = await self.clients[step["client"]].write(step["doc"], [write(w) for w in step["writes"]], None)
        assert changed, "nothing changed"

    async def expect(self, step):
        found = plain(await self.clients[step["client"]].value(step["doc"], path(*step["path"])))
        assert found == step["value"], f"found {found!r}"

    async def cursor(self, step):
        return await self.clients[step["client"]].cursor(step["doc"], path(*step["path"]), step["index"])

    async def expect_cursor(self, step):
        found = await self.clients[step["client"]].cursor_index(step["doc"], path(*step["path"]), step["cursor"])
        assert found == step["index"], f"at {found}"

    async def observe(self, step):
        return self.clients[step["client"]].document_stream(step["doc"])

    async def next(self, stream):
        return await asyncio.wait_for(stream.next(), WAIT_S)

    async def expect_event(self, step):
        event = await self.next(step["stream"])
        if step["kind"] == "snapshot":
            assert event.is_SNAPSHOT() and not event.resync, event
            self.expect_at(event.value, step)
        else:
            assert event.is_CHANGED() and len(event.patches) == step["patches"], event
            assert event.is_local == step["local"]

    def at(self, found, steps):
        found = plain(found)
        for part in steps:
            found = found[part]
        return found

    def expect_at(self, value, step):
        found = self.at(value, step["path"])
        assert found == step["value"], f"found {found!r}"

    async def cancel(self, step):
        waiting = asyncio.create_task(step["stream"].next())
        await asyncio.sleep(0)
        step["stream"].cancel()
        assert await asyncio.wait_for(waiting, WAIT_S) is None

    async def expect_end(self, step):
        while await self.next(step["stream"]) is not None:
            pass

    async def many_streams(self, step):
        before = dinh.live_streams()
        client = self.clients[step["client"]]
        for _ in range(step["count"]):
            stream = client.document_stream(step["doc"])
            assert (await self.next(stream)).is_SNAPSHOT()
            stream.cancel()
        del stream
        after = dinh.live_streams()
        assert after <= before, f"{after - before} streams are not freed"

    async def relay(self, _):
        command = [os.environ["DINH_RELAY"], "serve", "--data", str(self.folder / "relay"), "--listen", "127.0.0.1:0"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        printed = (re.search(r"ws://\S+", line) for line in self.process.stdout)
        self.address = next(found for found in printed if found)[0]

    async def connect(self, step):
        self.clients[step["client"]].set_relay(self.address)

    async def disconnect(self, step):
        client = self.clients[step["client"]]
        client.set_relay(None)
        await self.until(client, lambda status: status.link == dinh.LinkState.OFFLINE)

    async def until(self, client, is_so):
        stream = client.status_stream()
        while not is_so(await self.next(stream)):
            pass
        stream.cancel()

    async def join(self, step):
        client, by = self.clients[step["client"]], self.clients[step["by"]]
        events = client.event_stream()
        role, name = dinh.Role[step["role"].upper()], f"Máy của {step['client']}"
        member = self.kept[step["client"]]
        welcome = await by.admit(step["branch"], member, role, client.join_code(), name, self.address)
        assert dinh.code_kind(welcome) == dinh.CodeKind.WELCOME
        assert await client.join(welcome) == step["branch"]
        while not (await self.next(events)).is_JOINED():
            pass
        events.cancel()

    async def sync(self, step):
        for name in step["clients"]:
            outcome = await self.clients[name].sync(WAIT_S * 1000).run()
            assert outcome.is_SYNCED(), f"{name}: {outcome}"

    async def sync_fails_offline(self, step):
        client = self.clients[step["client"]]
        client.set_relay("ws://127.0.0.1:1/dinh/v1#" + self.address.split("#")[1])
        outcome = await client.sync(WAIT_S * 1000).run()
        assert outcome.is_OFFLINE() and outcome.trouble, outcome

    async def expect_members(self, step):
        branches = await self.clients[step["client"]].branches()
        found = next(branch for branch in branches if branch.id == step["branch"])
        assert found.own is None or found.own.member == self.kept[step["client"]]
        assert len(found.devices) == step["count"], found.devices

    async def expect_pending(self, step):
        assert self.clients[step["client"]].status().pending > 0

    async def bind(self, step):
        return await self.clients[step["client"]].text_field(step["doc"], path(*step["path"]))

    async def type(self, step):
        field = step["field"]
        field.replace(difference(field.text(), step["text"]), step["composing"])
        if not step["composing"]:
            field.absorb()

    async def expect_news(self, step):
        assert (await self.next(step["field"])).is_OTHERS()

    async def expect_field(self, step):
        assert step["field"].text() == step["text"], step["field"].text()

    async def flush(self, step):
        await step["field"].flush()

    async def unbind(self, step):
        step["field"].unbind()

    async def import_roster(self, step):
        client = self.clients[step["client"]]
        found = await client.import_roster(step["roster"], step["authority"], step["csv"].encode())
        assert found.is_written and found.people == step["people"] and not found.problems, found

    async def begin_meeting(self, step):
        new = dinh.NewMeeting(
            meeting=step["meeting"], period=step["period"], kind=dinh.MeetingKind.REGULAR, header=step["header"],
            chair=self.kept[step["chair"]], recorder=self.kept[step["recorder"]],
        )
        return await self.clients[step["client"]].begin_meeting(step["branch"], new)

    async def act(self, step, doc, command):
        return await self.clients[step["client"]].act(doc, command)

    async def step(self, step):
        return await self.act(step, step["minutes"], dinh.Command.STEP(step["kind"], step["data"]))

    async def add_section(self, step):
        return await self.act(step, step["minutes"], dinh.Command.ADD_SECTION(step["heading"], dinh.Place.LAST()))

    async def add_block(self, step):
        speaker = self.kept[step["speaker"]]
        command = dinh.Command.ADD_BLOCK(step["section"], step["kind"], step["text"], speaker, dinh.Place.LAST())
        return await self.act(step, step["minutes"], command)

    async def watch_minutes(self, step):
        return self.clients[step["client"]].snapshot_stream(step["minutes"], SnapshotKind.MINUTES)

    async def expect_watched(self, step):
        while True:
            shown = json.loads((await self.next(step["stream"])).json)
            if (step["section"] in [section["heading"] for section in shown["outline"]["sections"]]) == step["found"]:
                return

    async def mark_attendance(self, step):
        command = dinh.Command.MARK_ATTENDANCE(self.kept[step["member"]], dinh.AttendanceMark.PRESENT, None)
        await self.act(step, step["attendance"], command)

    async def move_motion(self, step):
        command = dinh.Command.MOVE_MOTION(step["title"], dinh.VoteThreshold.MORE_THAN_HALF)
        return await self.act(step, step["minutes"], command)

    async def record_count(self, step):
        count = dinh.NewCount(
            motion=step["motion"], method=dinh.VoteMethod.SHOW_OF_HANDS, threshold=dinh.VoteThreshold.MORE_THAN_HALF,
            tally=dinh.VoteTally(yes=step["yes"], no=step["no"], abstain=step["abstain"]), slips=None,
        )
        return await self.clients[step["client"]].record_count(step["minutes"], step["roster"], step["attendance"], count)

    async def seal(self, step):
        await self.clients[step["client"]].seal(step["branch"], step["minutes"])

    async def expect_minutes(self, step):
        found = await dinh.snapshot(self.clients[step["client"]], step["minutes"], SnapshotKind.MINUTES)
        sections = found["outline"]["sections"]
        assert found["life"]["status"] == {"in": step["state"]}, found["life"]
        assert [section["heading"] for section in sections] == step["sections"], sections
        assert [block["text"] for section in sections for block in section["blocks"]] == step["blocks"], sections

    async def expect_seal(self, step):
        found = await dinh.snapshot(self.clients[step["client"]], step["minutes"], SnapshotKind.SEAL)
        assert found["verified"] == "valid" and len(found["late"]) == step["late"], found

    async def search(self, step):
        hits = await self.clients[step["client"]].search(step["query"], 10)
        assert len(hits) == step["count"], hits
        for hit in hits:
            text = hit.text.encode("utf-16-le")
            words = [text[2 * r.start : 2 * r.end].decode("utf-16-le") for r in hit.highlights]
            assert " ".join(words) == step["found"], words

    async def open_mailbox(self, step):
        await self.clients[step["client"]].open_mailbox(step["branch"], self.kept[step["member"]])

    async def mailbox(self, step):
        return await self.clients[step["client"]].mailbox(step["branch"], self.kept[step["member"]], dinh.Mailbox.COMMITTEE)

    async def no_mailbox(self, step):
        assert await self.mailbox(step) is None

    async def begin_thread(self, step):
        kind = dinh.FeedbackKind.CONFIDENTIAL_REPORT
        command = dinh.Command.BEGIN_THREAD(kind, step["title"], step["text"], "vi", None, None)
        return await self.act(step, step["feedback"], command)

    async def expect_thread(self, step):
        threads = await dinh.snapshot(self.clients[step["client"]], step["feedback"], SnapshotKind.THREADS)
        found = next(thread for thread in threads if thread["id"] == step["thread"])
        assert found["messages"][0]["text"] == step["text"], found

    async def pause(self, step):
        await self.clients[step["client"]].pause()

    async def resume(self, step):
        await self.clients[step["client"]].resume()

    async def lock(self, step):
        await self.clients[step["client"]].lock()

    async def unlock(self, step):
        await self.clients[step["client"]].unlock(self.secrets[step["client"]])

    async def shutdown(self, step):
        await self.clients[step["client"]].shutdown()

    async def remove(self, step):
        reason = dinh.Reason[step["reason"].upper()]
        await self.clients[step["client"]].remove_member(step["branch"], self.kept[step["member"]], reason)


class Scenario(unittest.IsolatedAsyncioTestCase):
    async def test_the_story(self):
        steps = json.loads(STORY.read_text())["steps"]
        with tempfile.TemporaryDirectory() as folder:
            player = Player(pathlib.Path(folder))
            try:
                for number, step in enumerate(steps):
                    try:
                        await player.play(step)
                    except BaseException as error:
                        error.add_note(f"step {number}: {json.dumps(step, ensure_ascii=False)}")
                        raise
                await samples.check(player)
            finally:
                for client in player.clients.values():
                    await client.shutdown()
                if player.process:
                    player.process.kill()
                    player.process.communicate()
        print(f"python: {len(steps)} steps")


if __name__ == "__main__":
    unittest.main()
