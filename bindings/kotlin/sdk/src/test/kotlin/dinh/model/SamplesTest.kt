package dinh.model

import dinh.TESTDATA
import dinh.ffi.SnapshotKind
import java.io.File
import kotlinx.serialization.KSerializer
import kotlinx.serialization.builtins.ListSerializer
import kotlinx.serialization.builtins.MapSerializer
import kotlinx.serialization.builtins.nullable
import kotlinx.serialization.builtins.serializer
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.params.ParameterizedTest
import org.junit.jupiter.params.provider.EnumSource

/** What the native library really writes: a file for each kind of snapshot, which it made in a test of its own. */
class SamplesTest {
    private val samples = File(TESTDATA, "snapshots")

    private fun serializer(kind: SnapshotKind): KSerializer<*> =
        when (kind) {
            SnapshotKind.MINUTES -> Minutes.serializer()
            SnapshotKind.RESOLUTION -> Resolution.serializer()
            SnapshotKind.ROUND -> Round.serializer().nullable
            SnapshotKind.REVIEW -> Review.serializer()
            SnapshotKind.THREADS -> ListSerializer(FeedbackThread.serializer())
            SnapshotKind.ATTENDANCE -> Attendance.serializer()
            SnapshotKind.ROSTER -> Roster.serializer()
            SnapshotKind.QUESTIONS -> ListSerializer(Question.serializer())
            SnapshotKind.TASKS -> ListSerializer(GivenTask.serializer())
            SnapshotKind.NOTICE -> Notice.serializer()
            SnapshotKind.DIGEST -> Digest.serializer()
            SnapshotKind.INDEX -> SpaceIndex.serializer()
            SnapshotKind.EVENTS -> ListSerializer(LifeEvent.serializer())
            SnapshotKind.OVERLAPS -> ListSerializer(Overlap.serializer())
            SnapshotKind.SEAL -> Sealed.serializer().nullable
            SnapshotKind.AMENDED -> MapSerializer(String.serializer(), Amendment.serializer())
        }

    @ParameterizedTest
    @EnumSource(SnapshotKind::class)
    fun aSampleReads(kind: SnapshotKind) {
        val file = File(samples, "${kind.name.lowercase()}.json")
        assertTrue(file.isFile, "$file is missing: the native library's tests write it")
        read(serializer(kind), file.readText())
    }
}
