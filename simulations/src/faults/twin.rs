//! A second process under the id of a node: somebody has copied a machine's image, data directory and all, and has
//! started the copy.

use std::fmt;

/// Which life of the node the copy begins, beside the one that lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Twin {
    /// An earlier one: the image is old, and the copy's clock is wrong.
    Earlier,
    /// The very same: the image is from before the node's last start, and the copy's clock is wrong.
    Same,
    /// A later one: the usual case.
    Later,
}

impl fmt::Display for Twin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Earlier => "an earlier generation",
            Self::Same => "the same generation",
            Self::Later => "a later generation",
        })
    }
}
