"""Two commands, one of which cannot be imported."""

import click


@click.command()
@click.argument("word")
def hello(word):
    """Say a word."""
    click.echo(f"hello {word}")
