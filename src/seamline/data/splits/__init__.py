"""Parts of a version that share no row and no key: declared, reproducible, named by digest."""
