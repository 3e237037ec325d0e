"""Ask what is in photos, and print the five likeliest classes of each with their scores.

Usage: python examples/panda/client.py panda.jpg [more photos] [--label production] [--asyncio]
The name of a photo beside this file is enough. Needs `sigrun-client` alone, no TensorFlow.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from sigrun_client import AsyncClient, Client, PredictResult, SigrunClientError

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Ask and print; return the exit code."""
    options = parse_options()
    photos = [path if path.exists() else HERE / path for path in options.photos]
    try:
        results = asyncio.run(ask_all(options, photos)) if options.asyncio else ask(options, photos)
        for photo, result in zip(photos, results, strict=True):
            print_classes(photo.name, result)
    except (OSError, SigrunClientError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def ask(options: argparse.Namespace, photos: Sequence[Path]) -> Iterator[PredictResult]:
    """Ask about one photo after the other."""
    with Client(options.address) as client:
        for photo in photos:
            inputs = {"images": [photo.read_bytes()]}
            yield client.predict(options.model, inputs, label=options.label)


async def ask_all(options: argparse.Namespace, photos: Sequence[Path]) -> list[PredictResult]:
    """Ask about all photos at once."""
    async with AsyncClient(options.address) as client:
        answers = (
            client.predict(options.model, {"images": [photo.read_bytes()]}, label=options.label)
            for photo in photos
        )
        return await asyncio.gather(*answers)


def print_classes(name: str, result: PredictResult) -> None:
    """Print what version of which model said about a photo."""
    print(f"{name}: version {result.version} of {result.model}")
    (classes,), (scores,) = result.text("classes"), result["scores"]
    for names, score in zip(classes, scores, strict=True):
        print(f"  {score:.4f}  {names}")


def parse_options() -> argparse.Namespace:
    """Return the settings of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("photos", nargs="+", type=Path, metavar="photo")
    parser.add_argument("--address", default="localhost:8500", help="the server's gRPC address")
    parser.add_argument("--model", default="panda")
    parser.add_argument("--label", help="which version to ask; the newest without one")
    parser.add_argument("--asyncio", action="store_true", help="ask about all photos at once")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
