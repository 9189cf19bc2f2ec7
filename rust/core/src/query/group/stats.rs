//! What is gathered of one column in one group; every aggregate over the column reads from it.

use std::cmp::Ordering;
use std::collections::HashSet;

use foldhash::fast::FixedState;

use super::super::spec::Function;
use super::super::value::{Cell, Val, compare};
use super::Result;
use super::budget::Budget;
use super::key;
use super::sum::{Sum, leading_number};

/// Bytes that a member of a set takes beside its own, about.
const MEMBER_BYTES: usize = 40;

/// Which parts of `Stats` a column needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // independent of each other
pub struct Needs {
    pub sum: bool,
    pub min: bool,
    pub max: bool,
    pub distinct: bool,
}

impl Needs {
    pub fn add(&mut self, function: Function) {
        match function {
            Function::CountRows | Function::Count => {}
            Function::CountDistinct => self.distinct = true,
            Function::Min => self.min = true,
            Function::Max => self.max = true,
            Function::Sum | Function::Avg => self.sum = true,
            Function::Range => {
                self.min = true;
                self.max = true;
            }
        }
    }
}

/// A server adds floats as whole numbers of 2^-20, and what is left of them as such of 2^-82.
const STEP_BITS: [u32; 2] = [20, 62];

/// Cells of a column that a server has gathered: count; of a sum eight; minimum; maximum; a value to be counted once.
pub fn cells_of(needs: Needs) -> usize {
    let one = |needed: bool| usize::from(needed);
    1 + 8 * one(needs.sum) + one(needs.min) + one(needs.max) + one(needs.distinct)
}

/// Whether what a server has gathered loses nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gathered {
    Exactly,
    /// Some values were out of the range in which its additions are exact.
    NotExactly,
}

fn whole(cell: Cell<'_>) -> i64 {
    match cell {
        Cell::Int(value) => value,
        _ => 0,
    }
}

#[derive(Debug, Default)]
pub struct Stats {
    /// Values that are not null.
    count: i64,
    sum: Sum,
    min: Val,
    max: Val,
    distinct: HashSet<Box<[u8]>, FixedState>,
}

impl Stats {
    #[inline]
    pub fn add(
        &mut self,
        cell: Cell<'_>,
        needs: Needs,
        scratch: &mut Vec<u8>,
        budget: &mut Budget,
    ) -> Result<()> {
        if matches!(cell, Cell::Null) {
            return Ok(());
        }
        self.count += 1;
        if needs.sum {
            match cell {
                Cell::Int(value) => self.sum.add_int(value),
                Cell::Float(value) => self.sum.add_float(value),
                Cell::Text(text) => self.sum.add_float(leading_number(text)),
                Cell::Blob(_) | Cell::Null => self.sum.add_float(0.0),
            }
        }
        if needs.min {
            keep(&mut self.min, cell, Ordering::Less, budget)?;
        }
        if needs.max {
            keep(&mut self.max, cell, Ordering::Greater, budget)?;
        }
        if needs.distinct {
            scratch.clear();
            key::push(scratch, cell);
            if !self.distinct.contains(&scratch[..]) {
                budget.reserve(scratch.len() + MEMBER_BYTES)?;
                self.distinct.insert(scratch.as_slice().into());
            }
        }
        Ok(())
    }

    /// Take in what a database server has gathered of some rows; `cell` gives the values in the order of `cells_of`.
    pub fn add_gathered<'a>(
        &mut self,
        mut cell: impl FnMut() -> Cell<'a>,
        needs: Needs,
        scratch: &mut Vec<u8>,
        budget: &mut Budget,
    ) -> Result<Gathered> {
        let count = whole(cell());
        self.count += count;
        let mut gathered = Gathered::Exactly;
        if needs.sum {
            let mut parts = [0_i64; 8];
            for part in &mut parts {
                *part = whole(cell());
            }
            let [high, low, a_high, a_low, b_high, b_low, floats, inexact] = parts;
            if inexact != 0 {
                gathered = Gathered::NotExactly;
            }
            let joined = |high: i64, low: i64| (i128::from(high) << 32) + i128::from(low);
            self.sum.add_whole(joined(high, low));
            let (a, b) = (joined(a_high, a_low), joined(b_high, b_low));
            if floats == 0 {
                self.sum.add_whole(a >> STEP_BITS[0]);
            } else {
                self.sum.add_scaled(a, STEP_BITS[0]);
                self.sum.add_scaled(b, STEP_BITS[0] + STEP_BITS[1]);
            }
        }
        if needs.min {
            keep(&mut self.min, cell(), Ordering::Less, budget)?;
        }
        if needs.max {
            keep(&mut self.max, cell(), Ordering::Greater, budget)?;
        }
        if needs.distinct {
            let value = cell();
            if !matches!(value, Cell::Null) {
                scratch.clear();
                key::push(scratch, value);
                if !self.distinct.contains(&scratch[..]) {
                    budget.reserve(scratch.len() + MEMBER_BYTES)?;
                    self.distinct.insert(scratch.as_slice().into());
                }
            }
        }
        Ok(gathered)
    }

    pub fn merge(&mut self, other: Self, budget: &mut Budget) -> Result<()> {
        self.count += other.count;
        self.sum.merge(&other.sum);
        keep(&mut self.min, other.min.cell(), Ordering::Less, budget)?;
        keep(&mut self.max, other.max.cell(), Ordering::Greater, budget)?;
        for member in other.distinct {
            let bytes = member.len() + MEMBER_BYTES;
            if self.distinct.insert(member) {
                budget.reserve(bytes)?;
            }
        }
        Ok(())
    }

    /// The answer of an aggregate over the column.
    pub fn value(&self, function: Function) -> Val {
        match function {
            Function::Count | Function::CountRows => Val::Int(self.count),
            Function::CountDistinct => Val::Int(self.distinct.len() as i64),
            Function::Min => self.min.clone(),
            Function::Max => self.max.clone(),
            Function::Sum | Function::Avg if self.count == 0 => Val::Null,
            Function::Sum => self.sum.value(),
            Function::Avg => Val::Float(self.sum.float() / self.count as f64),
            Function::Range => range(&self.min, &self.max),
        }
    }
}

/// Replace `held` by a value that comes `wanted` of it; nulls never do.
#[inline]
fn keep(held: &mut Val, cell: Cell<'_>, wanted: Ordering, budget: &mut Budget) -> Result<()> {
    let better = match (cell, &*held) {
        (Cell::Null, _) => false,
        (_, Val::Null) => true,
        (Cell::Float(new), Val::Float(old)) => new.partial_cmp(old) == Some(wanted),
        (Cell::Int(new), Val::Int(old)) => new.cmp(old) == wanted,
        _ => compare(cell, held.cell()) == wanted,
    };
    if better {
        let value = cell.to_val();
        let (new, old) = (value.heap_bytes(), held.heap_bytes());
        if new > old {
            budget.reserve(new - old)?;
        }
        *held = value;
    }
    Ok(())
}

/// abs(max - min) of numbers; null of anything else.
fn range(min: &Val, max: &Val) -> Val {
    let float = |value: &Val| match value {
        Val::Int(i) => Some(*i as f64),
        Val::Float(f) => Some(*f),
        _ => None,
    };
    if let (Val::Int(low), Val::Int(high)) = (min, max)
        && let Some(range) = high.checked_sub(*low)
    {
        return Val::Int(range);
    }
    match (float(min), float(max)) {
        (Some(low), Some(high)) => Val::Float((high - low).abs()),
        _ => Val::Null,
    }
}
