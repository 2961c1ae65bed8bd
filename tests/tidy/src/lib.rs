//! The repository's own rules, as tests: `cargo test -p bowline-tidy`.
//!
//! A rule is a function from text to what it finds there, so each one is also tried on input that breaks it: a check that cannot
//! fail checks nothing. A rule that stands in the way is changed here, with the reason, in a commit that says why.
//!
//! Not checked, because it cannot be without a network: whether a third-party package was yanked or has a known vulnerability.

#[cfg(test)]
mod finding;
#[cfg(test)]
mod repository;

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod layers;
#[cfg(test)]
mod manifests;
#[cfg(test)]
mod modules;
#[cfg(test)]
mod packages;
#[cfg(test)]
mod pages;
#[cfg(test)]
mod problem_codes;
#[cfg(test)]
mod text;
