//! The commands as a person runs them.

#[cfg(test)]
mod offline;
#[cfg(test)]
mod program;
#[cfg(test)]
mod running;
