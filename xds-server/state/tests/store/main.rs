//! Every store keeps the same promises; a file outlives crashes and says what is wrong with it; writing behind loses nothing.

#[cfg(test)]
mod contract;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod file;
#[cfg(test)]
mod full_disk;
#[cfg(test)]
mod registry_objects;
#[cfg(test)]
mod write_behind;
