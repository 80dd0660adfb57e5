"""What every reader promises: the same frames whatever the format, any order, errors that name the file, no leaks."""

import gc
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from unreel.data.readers import READERS, Reading, is_readable_name, open_source
from unreel.data.readers.volumes import VolumeConfig
from unreel.errors import ReadError
from unreel.tokens import TextConfig, Vocabulary

from made_scans import planes_of, stored, volume, write_dicom, write_nifti  # isort: skip
from sounds import write_sound  # isort: skip

T, H, W = 12, 34, 50


def color_frames() -> np.ndarray:
    """(T, H, W, 3) uint8 noise on a slope: no two frames alike, nothing a lossy codec would keep."""
    slope = np.linspace(0, 128, W)[None, None, :, None] + 8 * np.arange(T)[:, None, None, None]
    noise = np.random.default_rng(0).integers(0, 32, (T, H, W, 3))
    return (slope + noise).astype(np.uint8)


def write_video(
    path: Path, frames: np.ndarray, codec: str, pix_fmt: str, options: dict[str, str] | None = None
) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10, options=options)
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], pix_fmt
        for image in frames:
            frame = av.VideoFrame.from_ndarray(image, format="rgb24" if image.ndim == 3 else "gray")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def write_images(folder: Path, frames: np.ndarray, suffix: str) -> list[Path]:
    folder.mkdir()
    paths = [folder / f"frame{index}.{suffix}" for index in range(len(frames))]
    for path, image in zip(paths, frames, strict=True):
        Image.fromarray(image).save(path)
    return paths


def ffv1(folder: Path, frames: np.ndarray) -> str:
    write_video(folder / "clip.mkv", frames, "ffv1", "bgr0" if frames.ndim == 4 else "gray")
    return str(folder / "clip.mkv")


def x264_rgb(folder: Path, frames: np.ndarray) -> str:
    # B frames, groups of 5, and groups that lean on the one before
    options = {"crf": "0", "preset": "medium", "g": "5", "bf": "2", "x264-params": "open-gop=1:scenecut=0"}
    write_video(folder / "clip.mp4", frames, "libx264rgb", "rgb24", options)
    return str(folder / "clip.mp4")


def png_folder(folder: Path, frames: np.ndarray) -> str:
    write_images(folder / "frames", frames, "png")
    return str(folder / "frames")


def bmp_folder(folder: Path, frames: np.ndarray) -> str:
    write_images(folder / "frames", frames, "bmp")
    return str(folder / "frames")


def zip_of_png(folder: Path, frames: np.ndarray, inner: str = "", place: str = "") -> str:
    with zipfile.ZipFile(folder / "clip.zip", "w") as archive:
        for path in write_images(folder / "frames", frames, "png"):
            archive.write(path, inner + path.name)
    return str(folder / "clip.zip") + place


def zip_folder(folder: Path, frames: np.ndarray) -> str:
    return zip_of_png(folder, frames, "train/cat/", "!train/cat/")


def npy_last(folder: Path, frames: np.ndarray) -> str:
    np.save(folder / "clip.npy", frames)
    return str(folder / "clip.npy")


def npy_first(folder: Path, frames: np.ndarray) -> str:
    np.save(folder / "clip.npy", frames.transpose(0, 3, 1, 2) if frames.ndim == 4 else frames[:, None])
    return str(folder / "clip.npy")


def npz(folder: Path, frames: np.ndarray) -> str:
    np.savez_compressed(folder / "clip.npz", frames=frames, note=np.zeros(1))
    return str(folder / "clip.npz")


WRITERS = [ffv1, x264_rgb, png_folder, bmp_folder, zip_of_png, zip_folder, npy_last, npy_first, npz]


def channels_first(frames: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(frames.transpose(0, 3, 1, 2) if frames.ndim == 4 else frames[:, None])


@pytest.mark.parametrize("write", WRITERS)
def test_every_lossless_format_gives_the_same_frames(tmp_path: Path, write: Callable[[Path, np.ndarray], str]) -> None:
    frames = color_frames()
    with open_source(write(tmp_path, frames)) as source:
        assert len(source) == T
        assert source.frame_shape == (3, H, W)
        assert source.times.shape == (T,)
        assert source.times.dtype == torch.float64
        assert (source.times.diff() > 0).all()
        read = source.read(range(T))
    assert read.dtype == torch.uint8
    assert torch.equal(read, channels_first(frames))


@pytest.mark.parametrize("write", [ffv1, png_folder, bmp_folder, zip_of_png, npy_last, npy_first, npz])
def test_grey_stays_one_channel(tmp_path: Path, write: Callable[[Path, np.ndarray], str]) -> None:
    grey = np.ascontiguousarray(color_frames()[..., 0])
    with open_source(write(tmp_path, grey)) as source:
        assert source.frame_shape == (1, H, W)
        assert torch.equal(source.read(range(T)), channels_first(grey))


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp"])
def test_a_single_image_is_a_clip_of_one_frame(tmp_path: Path, suffix: str) -> None:
    image = color_frames()[0]
    path = tmp_path / f"one.{suffix}"
    Image.fromarray(image).save(path, lossless=True) if suffix == "webp" else Image.fromarray(image).save(path)
    with open_source(path) as source:
        assert source.times.tolist() == [0.0]
        assert source.frame_shape == (3, H, W)
        assert torch.equal(source.read([0])[0], torch.from_numpy(image).permute(2, 0, 1))


@pytest.mark.parametrize("write", WRITERS)
def test_random_access_equals_sequential(tmp_path: Path, write: Callable[[Path, np.ndarray], str]) -> None:
    frames = color_frames()
    expected = channels_first(frames)
    with open_source(write(tmp_path, frames)) as source:
        for indices in ([T - 1], [7, 0, 7, 3], [], list(range(T))[::-1], [4, 5], [6, 7], [0]):
            read = source.read(indices)
            assert read.shape == (len(indices), 3, H, W)
            assert torch.equal(read, expected[indices])
        for outside in (-1, T):
            with pytest.raises(IndexError, match=f"0 to {T - 1}"):
                source.read([outside])


@pytest.mark.parametrize("suffix", sorted(READERS))
@pytest.mark.parametrize("content", [b"", b"this is no such file\n" * 40], ids=["empty", "text"])
def test_a_broken_file_raises_with_its_path(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"broken{suffix}"
    path.write_bytes(content)
    with pytest.raises(ReadError) as caught, open_source(path) as source:
        source.read([0])
    assert caught.value.path == str(path)
    assert caught.value.reason.isprintable()


SENTENCES = ["it's too-tepid , 3.5 stars !", 'the clichés disappear "', "fine"]


def as_txt(folder: Path) -> list[str]:
    for number, text in enumerate(SENTENCES):
        (folder / f"{number}.txt").write_text(text, encoding="utf-8")
    return [f"{folder}/{number}.txt" for number in range(3)]


def as_lines(folder: Path) -> list[str]:
    (folder / "all.pos").write_bytes("\r\n".join(SENTENCES).encode() + b"\r\n")
    return [f"{folder}/all.pos!{line}" for line in (1, 2, 3)]


def as_csv(folder: Path) -> list[str]:
    rows = [",".join(f'"{cell}"' for cell in ("x", text.replace('"', '""'))) for text in SENTENCES]
    (folder / "all.csv").write_bytes(b"\xef\xbb\xbf" + "\n".join(["label,a review", *rows]).encode())
    return [f"{folder}/all.csv!a review!{line}" for line in (2, 3, 4)]


def as_jsonl(folder: Path) -> list[str]:
    (folder / "all.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in SENTENCES))
    return [f"{folder}/all.jsonl!text!{line}" for line in (1, 2, 3)]


def as_conll(folder: Path) -> list[str]:
    blocks = ["".join(f"{word}\tN\tO\n" for word in text.split()) for text in SENTENCES]
    (folder / "all.conll").write_text("# a comment\n" + "\n".join(blocks), encoding="utf-8")
    return [f"{folder}/all.conll!{line}" for line in (2, 9, 14)]


TEXT_WRITERS = [as_txt, as_lines, as_csv, as_jsonl, as_conll]


@pytest.mark.parametrize("write", TEXT_WRITERS)
def test_every_form_of_text_gives_the_same_tokens(tmp_path: Path, write: Callable[[Path], list[str]]) -> None:
    vocabulary = Vocabulary(("the", "it's", "clichés", "fine", '"'))
    places = write(tmp_path)
    for place, text in zip(places, SENTENCES, strict=True):
        with open_source(place, Reading(TextConfig(), vocabulary)) as source:
            wanted = torch.tensor([vocabulary.encode([word])[0] for word in text.split()])
            assert (len(source), source.frame_shape) == (len(wanted), ())
            assert source.times.tolist() == list(range(len(wanted)))
            read = source.read(range(len(wanted)))
            assert read.dtype == torch.int64
            assert torch.equal(read, wanted)
            last = len(source) - 1
            assert torch.equal(source.read([last, 0, last]), wanted[[last, 0, last]])
            with pytest.raises(IndexError):
                source.read([len(wanted)])
    before = open_files()
    for place in places:
        open_source(place).close()
    assert open_files() == before


def scan_writers() -> dict[str, Callable[[Path, np.ndarray], Path]]:
    """Volumes (X, Y, Z) whose axial slices, as they hang on a light box, are the same in every format."""

    def nifti(folder: Path, canonical: np.ndarray) -> Path:
        return write_nifti(folder / "a.nii", *stored(canonical, (2, 0, 1), (-1, 1, 1)))

    def nifti_gz(folder: Path, canonical: np.ndarray) -> Path:
        return write_nifti(folder / "a.nii.gz", *stored(canonical, (0, 1, 2), (1, -1, 1)))

    def dicom(folder: Path, canonical: np.ndarray) -> Path:
        return write_dicom(folder / "series", canonical)[0].parent

    def dicom_coronal(folder: Path, canonical: np.ndarray) -> Path:
        return write_dicom(folder / "series", canonical, "coronal", names=list("hgfedcba"))[0].parent

    def array(folder: Path, canonical: np.ndarray) -> Path:
        np.save(folder / "a.npy", canonical)
        return folder / "a.npy"

    def stack(folder: Path, canonical: np.ndarray) -> Path:
        np.savez_compressed(folder / "a.npz", train_images=canonical[None])
        return folder / "a.npz!train_images/0"

    def exam(folder: Path, canonical: np.ndarray) -> Path:
        (folder / "exam").mkdir()
        np.save(folder / "exam" / "axial.npy", planes_of(canonical)["axial"].astype(np.uint8))
        return folder / "exam"

    def mrnet(folder: Path, canonical: np.ndarray) -> Path:
        (folder / "train" / "axial").mkdir(parents=True)
        np.save(folder / "train" / "axial" / "0000.npy", planes_of(canonical)["axial"].astype(np.uint8))
        return folder / "train!0000"

    return {write.__name__: write for write in (nifti, nifti_gz, dicom, dicom_coronal, array, stack, exam, mrnet)}


@pytest.mark.parametrize("name", scan_writers())
def test_every_form_of_a_scan_gives_the_same_slices(tmp_path: Path, name: str) -> None:
    canonical = volume((8, 8, 8))
    wanted = torch.from_numpy(planes_of(canonical)["axial"]).byte()[:, None]
    path = scan_writers()[name](tmp_path, canonical)
    for _ in range(2):
        before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 0
        source = open_source(path, Reading(volume=VolumeConfig(("axial",), window=(0, 255))))
        assert source.views is not None
        assert source.views.tolist() == [0] * 8
        assert source.times.tolist() == list(range(8))
        assert source.frame_shape == (1, 8, 8)
        for indices in ([7], [5, 0, 5], [], list(range(8))):
            assert torch.equal(source.read(indices), wanted[indices])
        for outside in (-1, 8):
            with pytest.raises(IndexError, match="0 to 7"):
                source.read([outside])
        source.close()
        source.close()
        with pytest.raises(ReadError, match="closed"):
            source.read([0])
        del source
        gc.collect()
        assert before in (0, len(os.listdir("/proc/self/fd")))


def open_files() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc to count open files")
@pytest.mark.parametrize("write", WRITERS)
def test_handles_are_released(tmp_path: Path, write: Callable[[Path, np.ndarray], str]) -> None:
    path = write(tmp_path, color_frames())
    with open_source(path) as source:  # a zip stays open for the next read, once
        source.read([0])
    before = open_files()
    for _ in range(3):
        source = open_source(path)
        source.read([0, T - 1])
        source.close()
        source.close()
        del source
        with pytest.raises(IndexError), open_source(path) as source:
            source.read([T])
        del source
    assert open_files() == before


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc to count open files")
def test_handles_are_released_when_opening_fails(tmp_path: Path) -> None:
    before = open_files()
    for suffix in READERS:
        path = tmp_path / f"broken{suffix}"
        path.write_bytes(b"\x00" * 4096)
        with pytest.raises(ReadError), open_source(path) as source:
            source.read([0])
    assert open_files() == before


def test_what_no_reader_takes_says_so(tmp_path: Path) -> None:
    (tmp_path / "notes.docx").write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    for name, said in (("notes.docx", ".mp4"), ("absent.mp4", "none of this name"), ("empty", "holds none")):
        with pytest.raises(ReadError, match=said):
            open_source(tmp_path / name)
    with pytest.raises(ReadError, match="too long"):
        open_source("a" * 5000 + ".mp4")
    with pytest.raises(ReadError, match="name in UTF-8") as caught:
        open_source(os.fsdecode(b"\xff.mp4"))
    assert caught.value.reason.isprintable()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a system with named pipes")
@pytest.mark.timeout(20)
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.mp4")
    with pytest.raises(ReadError, match="got a pipe"):
        open_source(tmp_path / "a.mp4")


def test_readable_names() -> None:
    assert all(is_readable_name(f"a{suffix.upper()}") for suffix in READERS)
    assert is_readable_name("a.zip!b/c.png")
    assert not any(is_readable_name(name) for name in ("a.txt", "mp4", "a.zip!b/c.txt", ".hidden.png", "a.zip!b/"))


SOUNDS = {
    "16.wav": ("pcm_s16le", "s16"),
    "24.wav": ("pcm_s24le", "s32"),
    "float.wav": ("pcm_f32le", "flt"),
    "double.wav": ("pcm_f64le", "dbl"),
    "16.flac": ("flac", "s16"),
    "24.flac": ("flac", "s32"),
}


@pytest.mark.parametrize("name", SOUNDS)
def test_every_lossless_format_of_sound_gives_the_same_frames(tmp_path: Path, name: str) -> None:
    samples = np.random.default_rng(0).integers(-20000, 20000, 22050)
    write_sound(tmp_path / "first.wav", samples, 22050)
    write_sound(tmp_path / name, samples, 22050, *SOUNDS[name])
    with open_source(tmp_path / "first.wav") as first, open_source(tmp_path / name) as source:
        assert len(source) == len(first) == 101
        assert torch.equal(source.times, first.times)
        assert source.times.dtype == torch.float64
        whole = source.read(range(101))
        assert torch.equal(whole, first.read(range(101)))
        assert whole.shape[1:] == source.frame_shape
        for indices in ([100], [7, 0, 7, 3], [], [70, 5]):
            assert torch.equal(source.read(indices), whole[indices])
        for outside in (-1, 101):
            with pytest.raises(IndexError, match="0 to 100"):
                source.read([outside])


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc to count open files")
@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_handles_of_sound_are_released(tmp_path: Path, suffix: str) -> None:
    path = write_sound(tmp_path / f"a.{suffix}", 0.1 * np.ones(48000), 24000)
    before = open_files()
    source = open_source(path)
    source.read([100, 0])
    source.close()
    source.close()
    del source
    with pytest.raises(IndexError), open_source(path) as source:
        source.read([10**6])
    del source
    assert open_files() == before
