"""Video against PyAV's own plain loop: codecs, containers, times, orientation, random access, damage."""

import multiprocessing
import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from unreel.data.readers.packets import Packets
from unreel.data.readers.video import VideoSource
from unreel.errors import ReadError

T, H, W = 30, 48, 64


def scene(length: int = T) -> np.ndarray:
    """(T, H, W, 3) uint8: a bright square that wanders over a slope, so that lossy codecs keep it."""
    frames = np.empty((length, H, W, 3), np.uint8)
    frames[:] = np.linspace(20, 120, W, dtype=np.uint8)[None, None, :, None]
    for index, frame in enumerate(frames):
        frame[8 + index % 24 : 20 + index % 24, 2 * index % 50 : 2 * index % 50 + 12] = 230 - 4 * index
    return frames


def write(
    path: Path,
    codec: str,
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    ticks: Sequence[int] = tuple(range(T)),
    rotation: float | None = None,
) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10, options=options)
        stream.height, stream.width, stream.pix_fmt = H, W, pix_fmt
        stream.codec_context.time_base = Fraction(1, 10)
        if rotation is not None:
            stream.set_display_rotation(rotation)
        for tick, image in zip(ticks, scene(len(ticks)), strict=True):
            frame = av.VideoFrame.from_ndarray(image).reformat(format=pix_fmt)
            frame.pts, frame.time_base = tick, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def plain(path: Path) -> torch.Tensor:
    """What PyAV's plain loop shows, (T, C, H, W)."""
    with av.open(str(path)) as container:
        images = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)


GROUPS = {"g": "8", "bf": "3"}
X264 = {**GROUPS, "x264-params": "b-pyramid=normal:scenecut=0:open-gop=1"}
X265 = {"x265-params": "log-level=none:keyint=8:bframes=3:open-gop=1:pools=none:frame-threads=1"}
FILES = [
    ("h264.mp4", "libx264", "yuv420p", X264),
    ("h264.mkv", "libx264", "yuv420p", X264),
    ("h264.ts", "libx264", "yuv420p", X264),
    ("h264.avi", "libx264", "yuv420p", {"g": "8", "bf": "2", "x264-params": "scenecut=0"}),
    ("hevc.mp4", "libx265", "yuv420p", X265),
    ("ten_bits.mkv", "libx265", "yuv420p10le", X265),
    ("mpeg4.avi", "mpeg4", "yuv420p", GROUPS),
    ("mpeg4.mp4", "mpeg4", "yuv420p", GROUPS),
    ("mpeg2.mpg", "mpeg2video", "yuv420p", {"g": "8", "bf": "2"}),
    ("vp8.webm", "libvpx", "yuv420p", {"g": "10", "auto-alt-ref": "1", "lag-in-frames": "12", "deadline": "good"}),
    ("vp9.webm", "libvpx-vp9", "yuv420p", {"g": "10", "auto-alt-ref": "1", "lag-in-frames": "12", "cpu-used": "8"}),
    ("mjpeg.avi", "mjpeg", "yuvj420p", {}),
    ("colors.gif", "gif", "rgb8", {}),
]


@pytest.mark.parametrize(("name", "codec", "pix_fmt", "options"), FILES, ids=[entry[0] for entry in FILES])
@pytest.mark.parametrize("threads", [1, 2])
def test_every_way_of_reading_gives_what_plain_decoding_gives(
    tmp_path: Path, name: str, codec: str, pix_fmt: str, options: dict[str, str], threads: int
) -> None:
    path = write(tmp_path / name, codec, pix_fmt, options)
    expected = plain(path)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for memory in (2**20, 0):
            with VideoSource(path, memory=memory) as source:
                assert len(source) == len(expected) == T
                assert source.times.diff().sub(0.1).abs().max() < 2e-2
                assert torch.equal(source.read(range(T)), expected)
            with VideoSource(path, memory=memory) as source:
                for indices in ([T - 1], [5], [6, 7, 8], [20, 3, 20], [29, 21, 13], list(range(0, T, 2)), [0]):
                    assert torch.equal(source.read(indices), expected[indices])
                in_chunks = [source.read(range(start, start + 5)) for start in range(0, T, 5)]
                assert torch.equal(torch.cat(in_chunks), expected)
    finally:
        torch.set_num_threads(before)


def test_a_read_decodes_only_the_groups_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.mp4", "libx264", options={"g": "5", "bf": "0", "x264-params": "scenecut=0"})
    fed: list[int] = []
    read_from = Packets.read_from

    def watched(self: Packets, number: int):
        for offset, packet in enumerate(read_from(self, number)):
            fed.append(number + offset)
            yield packet

    monkeypatch.setattr(Packets, "read_from", watched)
    with VideoSource(path) as source:
        source.read([27, 11])
        assert {10, 11, 25, 26, 27} <= set(fed) <= {10, 11, 25, 26, 27, 28, 29}
        fed.clear()
        source.read([28])
        assert min(fed, default=28) >= 28, "rolls on in the group it stands in"
        fed.clear()
        source.read([12])
        assert 10 <= min(fed) <= max(fed) <= 16


def test_times_are_those_of_the_container(tmp_path: Path) -> None:
    uneven = [3, 4, 5, 9, 10, 17, 18, 19, 40, 41]
    path = write(tmp_path / "uneven.mkv", "libx264", options=X264, ticks=uneven)
    with VideoSource(path) as source:
        assert source.times.tolist() == pytest.approx([tick / 10 for tick in uneven])


def test_packets_cut_away_by_an_edit_list_are_no_frames(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", "libx264", options={"g": "30", "bf": "0", "x264-params": "scenecut=0"})
    data = bytearray(path.read_bytes())
    place = data.index(b"elst")
    # version and flags, number of entries, then duration and start of the first
    assert struct.unpack_from(">II", data, place + 4) == (0, 1)
    scale = struct.unpack_from(">I", data, data.index(b"mdhd") + 16)[0]
    struct.pack_into(">i", data, place + 16, scale)
    path.write_bytes(data)
    expected = plain(path)
    assert len(expected) == T - 10
    with VideoSource(path) as source:
        assert len(source) == len(expected)
        assert source.times[0] == 0
        assert torch.equal(source.read(range(len(source))), expected)


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_turned_upright(tmp_path: Path, rotation: int) -> None:
    path = write(tmp_path / "turned.mp4", "libx264", rotation=rotation)
    # FFmpeg counts the angle of its matrix counterclockwise, as rot90 does
    expected = torch.rot90(plain(path), rotation // 90, (2, 3))
    with VideoSource(path) as source:
        assert source.frame_shape == tuple(expected.shape[1:])
        assert torch.equal(source.read(range(T)), expected)


def test_mirrored_upright(tmp_path: Path) -> None:
    path = write(tmp_path / "mirrored.mp4", "libx264", rotation=180)
    data = path.read_bytes()
    turned, mirrored = (
        struct.pack(">9i", a, 0, 0, 0, d, 0, 0, 0, 1 << 30) for a, d in ((-65536, -65536), (-65536, 65536))
    )
    place = data.index(turned[:20], data.index(b"tkhd"))
    path.write_bytes(data[:place] + mirrored[:20] + data[place + 20 :])
    with VideoSource(path) as source:
        assert torch.equal(source.read([0, 9]), plain(path)[[0, 9]].flip(3))


def test_grey_codec_gives_one_channel(tmp_path: Path) -> None:
    path = write(tmp_path / "grey.mkv", "ffv1", "gray16le")
    with VideoSource(path) as source:
        assert source.frame_shape == (1, H, W)
        assert source.read([3]).shape == (1, 1, H, W)


def test_transparency_is_dropped(tmp_path: Path) -> None:
    path = write(tmp_path / "alpha.mkv", "ffv1", "bgra")
    with VideoSource(path) as source:
        assert torch.equal(source.read([3])[0], torch.from_numpy(scene()[3]).permute(2, 0, 1))


def test_frames_of_two_sizes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "sizes.ts"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg2video", rate=25)
        stream.height, stream.width, stream.pix_fmt = H, W, "yuv420p"
        small = av.CodecContext.create("mpeg2video", "w")
        small.height, small.width, small.pix_fmt, small.time_base = 32, 32, "yuv420p", Fraction(1, 25)
        black = {size: av.VideoFrame(*size, "yuv420p") for size in ((W, H), (32, 32))}
        for tick in range(4):
            black[W, H].pts = tick
            container.mux(stream.encode(black[W, H]))
        container.mux(stream.encode(None))
        for tick in range(4, 8):
            black[32, 32].pts = tick
            for packet in [*small.encode(black[32, 32]), *(small.encode(None) if tick == 7 else ())]:
                packet.stream = stream
                packet.time_base = Fraction(1, 25)
                container.mux(packet)
    with VideoSource(path) as source, pytest.raises(ReadError, match=r"\(3, 32, 32\).*\(3, 48, 64\)"):
        source.read(range(len(source)))


def test_a_cut_file_is_refused_or_its_missing_frames_are(tmp_path: Path) -> None:
    for name, codec in (("a.mp4", "libx264"), ("a.avi", "mpeg4")):
        path = write(tmp_path / name, codec, options={"movflags": "faststart"} if codec == "libx264" else {})
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
        with pytest.raises(ReadError) as caught, VideoSource(path) as source:
            source.read(range(len(source)))
        assert caught.value.path == str(path)


def test_a_damaged_frame_is_refused_and_the_other_groups_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", "libx264", options={"g": "10", "bf": "0", "x264-params": "scenecut=0"})
    expected = plain(path)
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packet = next(packet for number, packet in enumerate(container.demux(video=0)) if number == 10)
        place = data.index(bytes(packet))
    data[place + packet.size // 2 : place + packet.size - 8] = bytes(packet.size - 8 - packet.size // 2)
    path.write_bytes(data)
    with VideoSource(path) as source:
        with pytest.raises(ReadError, match="10 of 30"):
            source.read(range(T))
        others = [*range(10), *range(20, T)]
        assert torch.equal(source.read(others), expected[others])


def test_text_and_sound_are_no_video(tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(ReadError, match="expected a video"):
        VideoSource(path)


def test_reading_after_close_says_so(tmp_path: Path) -> None:
    source = VideoSource(write(tmp_path / "a.mp4", "libx264"))
    source.close()
    with pytest.raises(ReadError, match="closed"):
        source.read([0])


def mutated(data: bytes, seed: int) -> bytes:
    generator = np.random.default_rng(seed)
    if seed % 4 == 0:
        return data[: int(generator.integers(1, len(data)))]
    changed = np.frombuffer(data, np.uint8).copy()
    # half of the copies are hit in the header only
    reach = len(changed) if seed % 4 == 1 else min(len(changed), 1500)
    places = generator.integers(0, reach, size=1 + seed % 7)
    if seed % 8 == 7:
        places = len(changed) - 1 - places
    changed[places] = generator.integers(0, 256, size=len(places))
    return changed.tobytes()


def read_mutated(paths: Sequence[Path]) -> None:
    """Runs in a process of its own, so that a crash or a hang is seen as one."""
    torch.set_num_threads(2)
    for path in paths:
        try:
            with VideoSource(path) as source:
                read = source.read(range(min(len(source), 64)))
                assert read.shape[1:] == source.frame_shape
                assert torch.isfinite(source.times).all()
        except ReadError as error:
            if error.path != str(path) or not error.reason.isprintable():
                raise


def test_mutated_copies_neither_crash_nor_hang(tmp_path: Path) -> None:
    paths: list[Path] = []
    for name, codec, options in (
        ("a.mp4", "libx264", {**X264, "movflags": "faststart"}),
        ("b.mkv", "mpeg4", GROUPS),
        ("c.avi", "mpeg4", GROUPS),
        ("d.webm", "libvpx", {"g": "10"}),
        ("e.gif", "gif", {}),
    ):
        original = write(tmp_path / name, codec, "rgb8" if codec == "gif" else "yuv420p", options)
        data = original.read_bytes()
        for seed in range(24):
            paths.append(tmp_path / f"{seed}_{name}")
            paths[-1].write_bytes(mutated(data, seed))
    process = multiprocessing.get_context("spawn").Process(target=read_mutated, args=(paths,))
    process.start()
    process.join(timeout=120)
    hangs = process.is_alive()
    process.kill()
    process.join()
    assert not hangs
    assert process.exitcode == 0


@pytest.mark.shared_data
def test_real_clips_read_as_plain_decoding_does() -> None:
    folder = Path(__file__).parents[4] / "shared" / "data" / "fights"
    if not folder.is_dir():
        pytest.skip("needs the measuring data ../shared/data/fights")
    for path in sorted(folder.rglob("*.mp4"))[::80]:
        expected = plain(path)
        spread = np.linspace(0, len(expected) - 1, 16).round().astype(int).tolist()
        with VideoSource(path) as source:
            assert len(source) == len(expected)
            assert torch.equal(source.read(spread), expected[spread])
