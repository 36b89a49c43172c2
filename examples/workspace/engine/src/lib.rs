//! A queue that hands out the most urgent request first.

use std::collections::BinaryHeap;

use serde::{Deserialize, Serialize};

/// How urgent a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Priority {
    Low,
    Normal,
    High,
}

/// One request.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Request {
    pub priority: Priority,
    pub id: u64,
}

/// Something that can work on requests.
pub trait Worker {
    fn work(&mut self, request: Request);
}

#[derive(Default)]
pub struct Queue {
    heap: BinaryHeap<Request>,
}

impl Queue {
    /// Adds a request; refuses when `limit` requests wait already.
    pub fn push(&mut self, request: Request, limit: usize) -> Result<(), Request> {
        if self.heap.len() >= limit {
            return Err(request);
        }
        self.heap.push(request);
        Ok(())
    }

    fn next(&mut self) -> Option<Request> {
        self.heap.pop()
    }

    pub fn run<W: Worker>(&mut self, worker: &mut W) {
        while let Some(request) = self.next() {
            worker.work(request);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_urgent_comes_first() {
        let mut queue = Queue::default();
        queue.push(Request { priority: Priority::Low, id: 1 }, 9).unwrap();
        queue.push(Request { priority: Priority::High, id: 2 }, 9).unwrap();
        assert_eq!(queue.next().unwrap().id, 2);
    }
}
