//! The root survives and is one; certificates are what peers expect; what proves nothing is refused by name.

#[cfg(test)]
mod files;
#[cfg(test)]
mod issue;
#[cfg(test)]
mod mesh;
#[cfg(test)]
mod request;
#[cfg(test)]
mod root;
#[cfg(test)]
mod verify;
