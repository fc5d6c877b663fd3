"""Opens, observes and closes, again and again: memory, threads and files must stay where they are after the first rounds.

DINH_ROUNDS=10000 for the whole count; the memory is printed.
"""

import asyncio
import os
import pathlib
import tempfile
import unittest

import dinh

ROUNDS = int(os.environ.get("DINH_ROUNDS", "200"))


async def used():
    """Resident memory in KiB, threads, open files of this process. A client's thread ends a moment after `shutdown` returns."""
    await asyncio.sleep(1)
    status = dict(line.split(":", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines())
    return int(status["VmRSS"].split()[0]), int(status["Threads"]), len(os.listdir("/proc/self/fd"))


class Leaks(unittest.IsolatedAsyncioTestCase):
    async def test_open_observe_close(self):
        with tempfile.TemporaryDirectory() as folder:
            secrets, at = dinh.generate_secrets(), pathlib.Path(folder)

            async def opened():
                return await dinh.open(f"{at}/a.redb", f"{at}/a.marker", secrets)

            client = await opened()
            founded = await client.found_branch(dinh.new_member_id(), "máy")
            space = await client.create_space(founded.branch, None, True, False)
            doc = await client.create_document(space, dinh.Writers.ALL)
            await client.write(doc, [dinh.Write.PUT(dinh.path("text"), dinh.Value.TEXT("chào"))], None)
            await client.shutdown()

            async def rounds(count):
                for _ in range(count):
                    client = await opened()
                    stream = client.document_stream(doc)
                    assert (await stream.next()).is_SNAPSHOT()
                    await client.shutdown()
                    assert await stream.next() is None

            await rounds(max(20, ROUNDS // 10))
            before = await used()
            await rounds(ROUNDS)
            after = await used()
            print(f"python: {ROUNDS} rounds of open, observe, close: {before[0]} KiB before, {after[0]} KiB after")
            assert dinh.live_streams() <= 1, dinh.live_streams()
            assert after[1] <= before[1] and after[2] <= before[2], (before, after)
            # Less than a tenth of the smallest thing that a round makes.
            assert after[0] - before[0] < 4096 + ROUNDS // 10, (before, after)


if __name__ == "__main__":
    unittest.main()
