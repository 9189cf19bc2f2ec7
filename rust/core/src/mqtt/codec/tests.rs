//! `table`: bytes of every statement about form. `any`: packets made at random. `corpus`: the fuzzer's seeds.

mod any;
mod corpus;
mod table;
