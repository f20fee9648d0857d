"""What a file is, told from its first bytes, whatever its name says."""

from __future__ import annotations

START = 512
"""So many bytes tell."""

_ARCHIVES = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!": "rar",
}


def what_it_is(start: bytes, size: int, wanted: str) -> str | None:
    """A clause about a file that is not what it should be, and what to do; None when nothing is known about it.

    start: its first bytes. size: of the file, in bytes. wanted: what to use instead.
    """
    if start.startswith(b"PK\x03\x04"):
        return f"it is a zip archive, as PyTorch's .bin and .pt files are; pickles are never loaded, use {wanted}"
    if start[:1] == b"\x80" and start[1:2] in {b"\x02", b"\x03", b"\x04", b"\x05"}:
        return f"it is a Python pickle, which can run any code and is never loaded; use {wanted}"
    for magic, name in _ARCHIVES.items():
        if start.startswith(magic):
            return f"it is packed as {name}, and archives are not opened; use {wanted}"
    if start[257:262] == b"ustar":
        return f"it is a tar archive, and archives are not opened; use {wanted}"
    if start.startswith(b"GGUF"):
        return "it is a GGUF file; name the file itself"
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= size - 8:
        return "it is a safetensors file; name the folder of the whole checkpoint, or use a GGUF of the model"
    if start[:4] in {b"lmgg", b"fmgg", b"tjgg", b"algg"}:
        return "it is a GGML file of 2023, the format before GGUF; download a GGUF of the model"
    if start.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer and not the file itself; run `git lfs pull`"
    if start.lstrip()[:5].lower() in {b"<!doc", b"<html"}:
        return "it is a web page, perhaps saved by a download that needed a login; download the file again"
    return None
