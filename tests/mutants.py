"""What is taken out of the code, rule by rule, to see that the rule's tests notice."""

from typing import NamedTuple


class Mutant(NamedTuple):
    """One change of one file.

    Attributes:
        rule: the rule that no longer holds.
        what: what is taken out, as docs/spec.md says it.
        file: where.
        text: the code that keeps the rule; found once in the file.
        instead: what stands there in its place.
        tests: the test module that must fail then.
        which: pytest's expression (-k) for the tests of it that do.
    """

    rule: str
    what: str
    file: str
    text: str
    instead: str
    tests: str
    which: str


MUTANTS = [
    Mutant(
        "O3",
        "an opened file's epoch is not compared with the claim's",
        "durable/storage/store.py",
        """            if epoch >= claim.epoch:
                raise EpochTooOldError(epoch)
""",
        "",
        "tests/durable/test_ownership.py",
        "O3",
    ),
    Mutant(
        "O4",
        "a commit whose epoch is not in the file any more goes through",
        "durable/storage/transactions.py",
        """            if database.connection.changes() != 1:
                raise FencedError("another owner has taken this object")
""",
        "",
        "tests/durable/test_ownership.py",
        "O4_a_commit_by_who",
    ),
    Mutant(
        "O4",
        "a new file can be opened by others before its owner has opened it",
        "durable/storage/new_file.py",
        """            _set_lock(self.descriptor, fcntl.F_WRLCK)
            forget_mark(path)
""",
        """            forget_mark(path)
""",
        "tests/durable/test_new_file.py",
        "O4_a_file_that_was_written_once",
    ),
    Mutant(
        "O4",
        "what waits in the outbox leaves though the lease is over",
        "durable/runtime/outbox.py",
        """            if not self._may_release():
                return
            items.popleft()
""",
        """            items.popleft()
""",
        "tests/durable/test_ownership.py",
        "O4_nothing_is_released",
    ),
    Mutant(
        "C3",
        "private names and hooks are in the table of callable methods",
        "durable/runtime/signatures.py",
        """            if name.startswith("_") or name in hooks or hasattr(base, name):
                continue
""",
        "",
        "tests/durable/test_calls.py",
        "C3",
    ),
    Mutant(
        "C5",
        "the transaction of an event that raised is not rolled back",
        "durable/runtime/gate.py",
        """        if self._store.transactions.rollback():
""",
        """        if False:
""",
        "tests/durable/test_calls.py",
        "C5_a_raising_event_leaves_no_trace_in_storage",
    ),
    Mutant(
        "C5",
        "the frames of an event that raised are kept",
        "durable/runtime/gate.py",
        """            event.effects.clear()
""",
        """            pass
""",
        "tests/durable/test_calls.py",
        "C5_a_raising_event_leaves_no_trace_in_output",
    ),
    Mutant(
        "C5",
        "the instance of an event that raised lives on",
        "durable/runtime/runner.py",
        """        if not keep_instance or lost:
            self.instance = None
""",
        "",
        "tests/durable/test_calls.py",
        "C5_a_raising_event_discards",
    ),
    Mutant(
        "C6",
        "a repeated call does not look whether it has run",
        "durable/runtime/gate.py",
        """        if known is None or known[0] < call.number:
            return False
""",
        """        if known is not None or known is None:
            return False
""",
        "tests/durable/test_calls.py",
        "C6",
    ),
    Mutant(
        "C6",
        "only what is marked as a repeat is looked up",
        "durable/runtime/runner.py",
        "            if not event.concurrent and activation.gate.answer_again(event):\n",
        "            if not event.concurrent and event.repeat and activation.gate.answer_again(event):\n",
        "tests/durable/test_repeats.py",
        "C6_what_arrives_late",
    ),
    Mutant(
        "C6",
        "a repeat that is refused is said not to have been done",
        "durable/cluster/router.py",
        """    if request.repeat and error.delivered == "no":
""",
        """    if not request and error.delivered == "no":
""",
        "tests/durable/test_repeats.py",
        "C6_a_repeat",
    ),
    Mutant(
        "G1",
        "an event begins before the one before it has ended",
        "durable/runtime/activation.py",
        """                await runner.handle(mailbox.take())
                in_turn += 1
""",
        """                self.early = asyncio.create_task(runner.handle(mailbox.take()))
                in_turn += 1
""",
        "tests/durable/test_gates.py",
        "G1",
    ),
    Mutant(
        "G4",
        "an output leaves before its commit is durable",
        "durable/runtime/outbox.py",
        " and (self._relaxed or seq <= self._durable)",
        "",
        "tests/durable/test_gates.py",
        "G4_a_reply_waits or G4_a_frame",
    ),
    Mutant(
        "G4",
        "a call to another object leaves before the write it follows",
        "durable/runtime/calls.py",
        """            await activation.flush()
""",
        """            pass
""",
        "tests/durable/test_gates.py",
        "G4_an_outgoing_call",
    ),
    Mutant(
        "G4",
        "a failed sync lets out what waits for it",
        "durable/runtime/outbox.py",
        """            self._items.popleft()[2](error)
""",
        """            self._items.popleft()[2](None)
""",
        "tests/durable/test_gates.py",
        "G4_when_the_commit_fails_nothing_leaves",
    ),
    Mutant(
        "G4",
        "what the kernel could not sync counts as synced",
        "durable/storage/kernel_sync.py",
        """                done(None if result >= 0 else OSError(-result, os.strerror(-result)))
""",
        """                done(None)
""",
        "tests/durable/test_kernel_sync.py",
        "G4_what_the_disk_refuses",
    ),
    Mutant(
        "G4",
        "who takes over a file with one commit takes it for synced",
        "durable/storage/store.py",
        """            if not self.database.in_memory and (has_log or durable < before <= 1):
""",
        """            if not self.database.in_memory and has_log:
""",
        "tests/durable/test_new_file.py",
        "G4_who_takes_over",
    ),
    Mutant(
        "G5",
        "an event that only read is answered at once",
        "durable/runtime/gate.py",
        """        barrier = None
        if transactions.writing:
""",
        """        barrier = None
        if not transactions.writing:
            event.answer.reply(value)
            return
        if transactions.writing:
""",
        "tests/durable/test_gates.py",
        "G5_a_reader",
    ),
    Mutant(
        "G5",
        "a call by an event that has only read leaves at once",
        "durable/runtime/calls.py",
        "            if gate.has_unflushed(event) or not gate.is_clear:\n",
        "            if gate.has_unflushed(event):\n",
        "tests/durable/test_gates.py",
        "G5_a_call_by_who",
    ),
    Mutant(
        "G6",
        "a takeover takes what it finds in the file for durable",
        "durable/storage/store.py",
        """        return seq + 1, seq - 1
""",
        """        return seq + 1, seq + 1
""",
        "tests/durable/test_gates.py",
        "G6_the_first_output",
    ),
    Mutant(
        "G7",
        "the record that a call has run is a commit of its own",
        "durable/runtime/gate.py",
        """        metadata = store.metadata
        call = event.call_id
""",
        """        metadata = store.metadata
        store.commit()
        call = event.call_id
""",
        "tests/durable/test_gates.py",
        "G7_all_that_an_event_wrote",
    ),
    Mutant(
        "G7",
        "each key that is put is a commit of its own",
        "durable/storage/kv.py",
        """            self._transactions.write(_PUT, row)
""",
        """            self._transactions.write(_PUT, row)
            self._transactions.commit()
""",
        "tests/durable/test_gates.py",
        "G7_an_owner_that_died",
    ),
    Mutant(
        "G4",
        "what shares a commit leaves before the commit",
        "durable/runtime/gate.py",
        """        if self.holds:
            self._held.append(_Held(event, effects, reply, value))
            return
""",
        "",
        "tests/durable/test_shared_commits.py",
        "G4_nothing_that_shares",
    ),
    Mutant(
        "G5",
        "an event that may wait begins before what is held is committed",
        "durable/runtime/runner.py",
        """        if event.waits or self.instance is None:
""",
        """        if self.instance is None:
""",
        "tests/durable/test_shared_commits.py",
        "G5_an_event_that_waits",
    ),
    Mutant(
        "G7",
        "an event that fails takes back what others have written in its transaction",
        "durable/storage/transactions.py",
        """        if self._is_nested and not self._is_ending and not ended:
""",
        """        if False:
""",
        "tests/durable/test_shared_commits.py",
        "G7_one_that_fails",
    ),
    Mutant(
        "S9",
        "events whose transaction SQLite has ended are taken for committed",
        "durable/storage/transactions.py",
        """        if self._is_nested and self._database.connection.get_autocommit():
""",
        """        if False:
""",
        "tests/durable/test_shared_commits.py",
        "S9_no_event_outlives",
    ),
    Mutant(
        "G8",
        "flush does not wait for the disk",
        "durable/runtime/gate.py",
        """        self.outbox.put(store.transactions.seq, emit, barrier)
        await done
""",
        """        self.outbox.put(store.transactions.seq, emit, barrier)
""",
        "tests/durable/test_gates.py",
        "G8_flush_waits",
    ),
    Mutant(
        "S6",
        "what an object did in memory is left to the next one",
        "durable/storage/blanks.py",
        """            blank.cursor.execute("ROLLBACK")
""",
        """            blank.cursor.execute("COMMIT; DELETE FROM _do_meta")
""",
        "tests/durable/test_blanks.py",
        "S6_nothing_of_one_object",
    ),
    Mutant(
        "S6",
        "the authorizer lets an object touch the runtime's tables",
        "durable/storage/authorizer.py",
        """    return _DENY if _reserved(first) or _reserved(second) or _reserved(inner) else _OK
""",
        """    return _OK
""",
        "tests/durable/test_sql.py",
        "S6",
    ),
    Mutant(
        "S6",
        "the authorizer lets an object end its transaction and attach files",
        "durable/storage/authorizer.py",
        """    if action in _REFUSED:
        return _DENY
""",
        "",
        "tests/durable/test_sql.py",
        "S6",
    ),
    Mutant(
        "S7",
        "a transaction that an exception leaves is kept",
        "durable/storage/transactions.py",
        """                self._database.run(f"ROLLBACK TO {name}")
""",
        "",
        "tests/durable/test_storage.py",
        "S7",
    ),
    Mutant(
        "S9",
        "an event goes on after SQLite has given its transaction up",
        "durable/storage/transactions.py",
        """            if self.doomed is not None:
                raise self.doomed
            return
""",
        """            return
""",
        "tests/durable/test_store.py",
        "S9_after_SQLite",
    ),
    Mutant(
        "A3",
        "a due alarm wakes nobody who sleeps",
        "durable/runtime/host.py",
        """                self._activate(target).woken_for_alarm = True
""",
        """                del target
""",
        "tests/durable/test_alarms.py",
        "A3_it_runs_though_the_object_sleeps",
    ),
    Mutant(
        "A3",
        "an object that is opened does not look for its alarm",
        "durable/runtime/host.py",
        """        if at is not None:
            self.alarms.set(str(object_id), at)
""",
        "",
        "tests/durable/test_alarms.py",
        "A3",
    ),
    Mutant(
        "W1",
        "a repeated frame does not look whether it has been handled",
        "durable/runtime/handlers.py",
        """        elif request.frame > ws.received:
""",
        """        else:
""",
        "tests/durable/test_sockets.py",
        "W1_a_frame_that_wrote",
    ),
    Mutant(
        "W2",
        "an object that wakes does not read its sockets from its file",
        "durable/runtime/activation.py",
        """        self.gate.open(store)
        self.sockets.load(store.metadata.sockets())
""",
        """        self.gate.open(store)
""",
        "tests/durable/test_sockets.py",
        "W2",
    ),
    Mutant(
        "W3",
        "a takeover does not resume the sockets it finds",
        "durable/runtime/activation.py",
        """        self.runner.resume_due = resume and len(self.sockets) > 0
""",
        "",
        "tests/durable/test_sockets.py",
        "W3_sockets_stay_open_when",
    ),
    Mutant(
        "W6",
        "a socket whose gateway is gone gets no close event",
        "durable/runtime/host.py",
        """                if ws.gateway not in live:
""",
        """                if ws.gateway in ():
""",
        "tests/durable/test_sockets.py",
        "W6_a_gateway_that_died",
    ),
    Mutant(
        "L1",
        "a queue takes any number of events",
        "durable/runtime/mailbox.py",
        """            if len(events) >= self._max_events:
                raise OverloadedError(f"{len(events)} events already wait for this object")
""",
        "",
        "tests/durable/test_overload.py",
        "L1_what_does_not_fit",
    ),
    Mutant(
        "L2",
        "a full worker takes one more",
        "durable/runtime/capacity.py",
        """        if not self.evict(active, now):
            raise OverloadedError(f"{problem}, and all of them are busy")
""",
        """        if not self.evict(active, now):
            del problem
""",
        "tests/durable/test_capacity.py",
        "L2_beyond_its_memory_a_busy or L2_descriptors_bound",
    ),
    Mutant(
        "L2",
        "files are opened before others are closed",
        "durable/runtime/host.py",
        """        await self.capacity.files.acquire()
""",
        "",
        "tests/durable/test_capacity.py",
        "L2_no_file_is_opened",
    ),
    Mutant(
        "L4",
        "an event is tried however many workers died of it",
        "durable/runtime/runner.py",
        """        if deaths < DEADLY:
            return False
""",
        """        if deaths >= 0:
            return False
""",
        "tests/durable/test_overload.py",
        "L4_a_repeated_call",
    ),
]
