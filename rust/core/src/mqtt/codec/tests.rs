//! `table`: bytes of every statement about form. `any`: packets made at random.

mod any;
mod table;
