"""`fine-tune verify`: the proof of a release, on a machine that has only its folder and a public key."""

from pathlib import Path

import click

from fine_tune_assets.cli.release_proofs import prove_release

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("folder", type=_FOLDER)
@click.option("--public-key", required=True, type=_FILE, help="Whose release it must be: the file releases.pub.")
@click.option("--release-id", help="The release that it must be; any that was signed if absent.")
def verify(folder: Path, public_key: Path, release_id: str | None) -> None:
    """Prove a release, line by line. Needs no ledger, no settings and no network."""
    for line in prove_release(folder, public_key, release_id):
        click.echo(line)
    click.echo("The release is whole.")
