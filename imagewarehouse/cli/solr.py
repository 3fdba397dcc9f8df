"""What the commands share that ask Solr: where it is, and with which login."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from imagewarehouse.errors import ConfigurationError

if TYPE_CHECKING:
    from imagewarehouse.solr.settings import SolrSettings

SOLR = click.option(
    "--solr", metavar="URL", envvar="IMAGEWAREHOUSE_SOLR_URL", show_envvar=True,
    help="The collection: http://host:8983/solr/images, several of them with commas between, or"
         " zookeeper://host:2181,host:2181/images. Its login is taken from IMAGEWAREHOUSE_SOLR_USER and"
         " IMAGEWAREHOUSE_SOLR_PASSWORD, the authority of its certificate from IMAGEWAREHOUSE_SOLR_CA_FILE.",
)  # fmt: skip


def settings_of_solr(solr: str | None, answer_s: float = 30.0) -> SolrSettings:
    """Args: answer_s: seconds that an answer may take. Raises ConfigurationError."""
    from imagewarehouse.solr.settings import SolrSettings, parse_address

    if not solr:
        raise ConfigurationError("--solr", "say where Solr is, or set IMAGEWAREHOUSE_SOLR_URL")
    address = parse_address(solr, "--solr")
    if not address.collection:
        raise ConfigurationError("--solr", f"{solr!r} names no collection, such as /images at its end")
    return SolrSettings(
        address,
        user=os.environ.get("IMAGEWAREHOUSE_SOLR_USER", ""),
        password=os.environ.get("IMAGEWAREHOUSE_SOLR_PASSWORD", ""),
        ca_file=os.environ.get("IMAGEWAREHOUSE_SOLR_CA_FILE", ""),
        answer_s=answer_s,
    )
