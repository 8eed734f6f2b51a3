//! What the stories share: clocks that stand still, a gateway between two laboratories, and the
//! real binary.

pub(crate) mod binary;
pub(crate) mod causes;
pub(crate) mod clock;
pub(crate) mod gateway;
pub(crate) mod mapping;
pub(crate) mod paper;
pub(crate) mod watch;
pub(crate) mod workbook;
