//! The threads that connections are served on.
//!
//! One for each core, with a runtime of its own, and a connection stays on the one where it began. Nothing else runs there: what changes in a
//! registry would have to wait at each step on its way behind a fleet that is being sent the change before, and so would whoever asks whether
//! the server is well. Between threads the system divides the processor, and it lets those go first that need little of it.
//!
//! A thread has one queue, first come, first served. The threads of one runtime have several, and take from each other: the last of a busy
//! fleet had a change later with them (docs/benchmarks.md). The price is that nobody takes over from a thread that is held up.

use std::{
    cell::Cell,
    future::poll_fn,
    io,
    num::NonZero,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    thread,
};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::{
    net::TcpStream,
    runtime::{Builder, Handle, Runtime},
    task::JoinSet,
};

/// So many tasks have their turn between two looks at what has come from sockets and from other threads.
const TURNS_MAX: u32 = 20;

/// Threads that serve connections until this is dropped, which waits for them.
#[derive(Debug)]
pub struct Threads {
    places: Places,
    running: Vec<thread::JoinHandle<()>>,
}

/// Where connections may be served.
#[derive(Debug, Clone)]
pub struct Places {
    first: Arc<Home>,
    others: Arc<[Arc<Home>]>,
}

/// A connection's place on a thread, for as long as it has it.
#[derive(Debug)]
pub struct Place(Arc<Home>);

/// One of the threads, as others see it.
#[derive(Debug)]
pub struct Home {
    number: usize,
    runtime: Handle,
    connections: AtomicUsize,
    /// Who is to be woken of those that are served there, as other threads have asked for. At most once each, as long as they wait.
    called: Mutex<Vec<Waker>>,
    /// Wakes the thread to wake them.
    caller: AtomicWaker,
    is_over: AtomicBool,
}

thread_local! {
    /// Which of them this thread is.
    static HERE: Cell<Option<usize>> = const { Cell::new(None) };
}

impl Threads {
    /// One for each core that the process may use.
    ///
    /// # Errors
    /// When the system has no more threads or file descriptors.
    pub fn for_all_cores() -> io::Result<Self> {
        Self::start(thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN))
    }

    /// So many threads.
    ///
    /// # Errors
    /// When the system has no more threads or file descriptors.
    pub fn start(number: NonZero<usize>) -> io::Result<Self> {
        let (first, runtime) = Home::build(0)?;
        let mut runtimes = vec![runtime];
        let mut others = Vec::new();
        for number in 1..number.get() {
            let (home, runtime) = Home::build(number)?;
            others.push(home);
            runtimes.push(runtime);
        }
        let others = others.into();
        let mut threads = Self {
            places: Places { first, others },
            running: Vec::new(),
        };
        for (home, runtime) in threads.places.all().zip(runtimes) {
            let theirs = home.clone();
            let thread = thread::Builder::new()
                .name(format!("streams-{}", home.number))
                .spawn(move || theirs.live(&runtime))?;
            threads.running.push(thread);
        }
        Ok(threads)
    }

    /// Where connections may be served.
    pub fn places(&self) -> Places {
        self.places.clone()
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        for home in self.places.all() {
            home.is_over.store(true, Ordering::Release);
            home.caller.wake();
        }
        for thread in self.running.drain(..) {
            // A panic of it has been reported where it happened.
            let _ = thread.join();
        }
    }
}

impl Places {
    /// A place on the thread that has fewest connections.
    pub fn take(&self) -> Place {
        let connections = |home: &Arc<Home>| home.connections.load(Ordering::Relaxed);
        let mut home = &self.first;
        for other in &*self.others {
            if connections(other) < connections(home) {
                home = other;
            }
        }
        home.connections.fetch_add(1, Ordering::Relaxed);
        Place(home.clone())
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Home>> {
        std::iter::once(&self.first).chain(&*self.others)
    }
}

impl Place {
    /// Starts a task there, which keeps the place.
    pub fn spawn<T, F>(self, tasks: &mut JoinSet<T>, task: impl FnOnce(Self) -> F)
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let runtime = self.0.runtime.clone();
        tasks.spawn_on(task(self), &runtime);
    }

    /// The thread.
    pub fn home(&self) -> Arc<Home> {
        self.0.clone()
    }
}

/// A connection that this thread waits for from now on, wherever it was accepted.
///
/// # Errors
/// When the system does not let it.
pub fn adopt(stream: TcpStream) -> io::Result<TcpStream> {
    TcpStream::from_std(stream.into_std()?)
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Home {
    fn build(number: usize) -> io::Result<(Arc<Self>, Runtime)> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .event_interval(TURNS_MAX)
            .build()?;
        let home = Self {
            number,
            runtime: runtime.handle().clone(),
            connections: AtomicUsize::new(0),
            called: Mutex::default(),
            caller: AtomicWaker::new(),
            is_over: AtomicBool::new(false),
        };
        Ok((Arc::new(home), runtime))
    }

    /// Wakes a task of this thread, from wherever. A publication wakes all of a fleet from a thread that serves none of it: they are handed
    /// over together, in order, and come to the end of the queue, instead of into one of their own that is looked into now and then.
    pub fn wake(&self, task: Waker) {
        if HERE.get() == Some(self.number) {
            task.wake();
            return;
        }
        let is_first = {
            let mut called = self.called.lock();
            called.push(task);
            called.len() == 1
        };
        if is_first {
            self.caller.wake();
        }
    }

    fn live(&self, runtime: &Runtime) {
        HERE.set(Some(self.number));
        runtime.block_on(poll_fn(|context| self.poll(context)));
    }

    /// Wakes whom others have called, until it is over.
    fn poll(&self, context: &mut Context<'_>) -> Poll<()> {
        // Before looking, so that nobody calls unheard in between.
        self.caller.register(context.waker());
        let called = std::mem::take(&mut *self.called.lock());
        for task in called {
            task.wake();
        }
        match self.is_over.load(Ordering::Acquire) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn threads(number: usize) -> Threads {
        Threads::start(NonZero::new(number).unwrap()).unwrap()
    }

    /// Is pending once, and hands out its waker meanwhile.
    async fn once_woken(mut out: impl FnMut(Waker)) {
        let mut is_woken = false;
        poll_fn(|context| {
            if std::mem::replace(&mut is_woken, true) {
                return Poll::Ready(());
            }
            out(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    #[test]
    fn connections_are_spread_over_the_threads() {
        let threads = threads(3);
        let places = threads.places();
        let taken: Vec<Place> = (0..6).map(|_| places.take()).collect();
        let numbers: Vec<usize> = taken.iter().map(|place| place.0.number).collect();
        assert_eq!(numbers, [0, 1, 2, 0, 1, 2]);
        // Those that have gone make room.
        let (gone, _kept): (Vec<Place>, Vec<Place>) =
            taken.into_iter().partition(|place| place.0.number == 1);
        drop(gone);
        let more: Vec<Place> = (0..3).map(|_| places.take()).collect();
        let numbers: Vec<usize> = more.iter().map(|place| place.0.number).collect();
        assert_eq!(numbers, [1, 1, 0]);
    }

    #[tokio::test]
    async fn a_task_stays_where_it_began_and_is_woken_from_anywhere() {
        let threads = threads(2);
        let mut tasks = JoinSet::new();
        let (waker, wakers) = mpsc::channel();
        for _ in 0..4 {
            let waker = waker.clone();
            threads
                .places()
                .take()
                .spawn(&mut tasks, |place| async move {
                    let before = HERE.get();
                    // From another thread first, and then from its own.
                    once_woken(|own| waker.send(own).unwrap()).await;
                    let home = place.home();
                    once_woken(|own| home.wake(own)).await;
                    (before, HERE.get(), Some(place.0.number))
                });
        }
        drop(waker);
        let homes: Vec<Arc<Home>> = threads.places().all().cloned().collect();
        for _ in 0..4 {
            let waker = wakers.recv().unwrap();
            // Whoever is called at the wrong thread wakes all the same.
            homes[0].wake(waker);
        }
        while let Some(task) = tasks.join_next().await {
            let (before, after, home) = task.unwrap();
            assert_eq!((before, after), (home, home));
        }
    }

    #[tokio::test]
    async fn who_is_called_has_a_turn_in_the_order_of_the_calls() {
        const TASKS: usize = 100;
        let threads = threads(1);
        let places = threads.places();
        let mut tasks = JoinSet::new();
        let (sender, order) = mpsc::channel();
        let mut wakers = Vec::new();
        for number in 0..TASKS {
            let (waker, theirs) = mpsc::channel();
            let sender = sender.clone();
            places.take().spawn(&mut tasks, |_| async move {
                once_woken(|own| waker.send(own).unwrap()).await;
                sender.send(number).unwrap();
            });
            wakers.push(theirs.recv().unwrap());
        }
        let home = places.first.clone();
        for waker in wakers {
            home.wake(waker);
        }
        let order: Vec<usize> = order.iter().take(TASKS).collect();
        assert!(order.is_sorted(), "{order:?}");
        tasks.join_all().await;
    }

    #[tokio::test]
    async fn what_is_not_done_when_the_threads_end_is_cut_off() {
        let threads = threads(1);
        let mut tasks = JoinSet::new();
        threads
            .places()
            .take()
            .spawn(&mut tasks, |_| std::future::pending::<()>());
        drop(threads);
        let ended = tasks.join_next().await.unwrap();
        assert!(ended.unwrap_err().is_cancelled());
    }
}
