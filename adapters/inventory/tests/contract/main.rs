//! The registry contract, for an inventory of one file and for a directory of files.

#[cfg(test)]
mod files;

mod one_file {
    bowline_conformance::tests!(crate::files::OneFile);
}

mod a_directory {
    bowline_conformance::tests!(crate::files::Directory);
}
