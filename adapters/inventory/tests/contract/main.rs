//! The registry contract, for an inventory of one file and for a directory of files.

#[cfg(test)]
mod yaml;

mod one_file {
    bowline_conformance::tests!(bowline_conformance::OneFile<crate::yaml::Yaml>);
}

mod a_directory {
    bowline_conformance::tests!(bowline_conformance::Directory<crate::yaml::Yaml>);
}
