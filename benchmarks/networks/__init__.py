"""One module per library: `build(job) -> Trainer`. `registry` lists them."""
