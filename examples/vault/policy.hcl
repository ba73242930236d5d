# What the AppRole of the namespace shop may read.
path "secret/data/shop/*" {
  capabilities = ["read"]
}
# For find, metadataPolicy: Fetch, and --watch-interval.
path "secret/metadata/shop/*" {
  capabilities = ["read", "list"]
}
