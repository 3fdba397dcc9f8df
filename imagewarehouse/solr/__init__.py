"""Writing documents to any collection of Apache Solr."""
