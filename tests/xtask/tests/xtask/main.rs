//! What the repository's commands make, looked at from outside.

#[cfg(test)]
mod image;
#[cfg(test)]
mod kubernetes_example;
