package org.example.queue;

import java.util.ArrayDeque;
import java.util.Deque;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;

/**
 * A bounded queue of requests. Writers are refused when it is full, readers wait when it is empty.
 */
public class RequestQueue<T> {

    /** What happens to a request that finds the queue full. */
    public enum Overflow { REFUSE, DROP_OLDEST }

    private final Deque<T> waiting = new ArrayDeque<>();
    private final ReentrantLock lock = new ReentrantLock();
    private final Condition filled = lock.newCondition();
    private final int capacity;
    private final Overflow overflow;

    public RequestQueue(int capacity, Overflow overflow) {
        if (capacity < 1) {
            throw new IllegalArgumentException("capacity: must be 1 or more");
        }
        this.capacity = capacity;
        this.overflow = overflow;
    }

    /** Adds a request; false when it was refused. */
    public boolean offer(T request) {
        lock.lock();
        try {
            if (waiting.size() == capacity && overflow == Overflow.REFUSE) {
                return false;
            }
            if (waiting.size() == capacity) {
                waiting.removeFirst();
            }
            waiting.addLast(request);
            filled.signal();
            return true;
        } finally {
            lock.unlock();
        }
    }

    /** Takes the oldest request, or null after the time given. */
    public T poll(long timeout, TimeUnit unit) throws InterruptedException {
        long left = unit.toNanos(timeout);
        lock.lock();
        try {
            while (waiting.isEmpty()) {
                if (left <= 0) {
                    return null;
                }
                left = filled.awaitNanos(left);
            }
            return waiting.removeFirst();
        } finally {
            lock.unlock();
        }
    }

    int size() {
        return waiting.size();
    }
}
