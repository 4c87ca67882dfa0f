//! Recurrent layers.
