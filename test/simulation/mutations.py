#!/usr/bin/env python3
"""Does the simulation notice when a rule is broken?

mutations.py DIRECTORY [SEEDS [STEPS]]

Each mutation is an edit of one source file, of the sender's real ones or of the
model of the SQL around it. It is applied to a copy under DIRECTORY and compiled, and
some of SEEDS worlds must then fail. An edit that no longer applies is a failure, too:
whoever changed the code changes the mutation with it. Prints TAP.
"""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SENDER = ["src/platform/" + name for name in
          ("sender.c", "sender_plan.c", "sender_reply.c", "sender_status.c", "outcome.c", "throttle.c")]
MODEL = ["test/simulation/" + name for name in ("world.c", "database.c", "platform.c", "oracle.c")]
COMPILE = ["gcc", "-std=gnu11", "-O1", "-D_GNU_SOURCE", "-fno-strict-aliasing", "-fwrapv", "-w",
           "-I" + ROOT + "/src", "-I" + ROOT + "/src/platform", "-I" + ROOT + "/test/unit",
           "-I" + ROOT + "/test/simulation"]

# What is broken; the file; the text that is there once; what it becomes.
MUTATIONS = [
    # What an answer means.
    ("a reply that cannot be read counts as accepted", "outcome.c",
     "if (!result->readable)\n\t\treturn PE_OUTCOME_UNKNOWN;",
     "if (!result->readable)\n\t\treturn PE_OUTCOME_ACCEPTED;"),
    ("a request that timed out counts as accepted", "outcome.c",
     "return result->body_sent ? PE_OUTCOME_UNKNOWN : PE_OUTCOME_NOT_SENT;",
     "return result->body_sent ? PE_OUTCOME_ACCEPTED : PE_OUTCOME_NOT_SENT;"),
    ("a reply with another number of entries counts as accepted", "outcome.c",
     "? PE_OUTCOME_MIXED : PE_OUTCOME_MISCOUNTED;",
     "? PE_OUTCOME_MIXED : PE_OUTCOME_ACCEPTED;"),
    ("entries in another order count for the messages of their places", "outcome.c",
     "result->entry_count == message_count && !result->reordered", "result->entry_count == message_count"),
    ("a 207 counts as accepted, whatever its entries say", "outcome.c",
     "? PE_OUTCOME_MIXED : PE_OUTCOME_MISCOUNTED;",
     "? PE_OUTCOME_ACCEPTED : PE_OUTCOME_MISCOUNTED;"),
    ("a wrong address is a matter of trying again", "outcome.c",
     "case 501:\n\t\t\treturn PE_OUTCOME_CONFIGURATION;",
     "case 501:\n\t\t\treturn PE_OUTCOME_OVERLOAD;"),
    ("an entry's status is taken for its neighbour's", "sender_reply.c",
     "blocked = on_entry(sender, s, index, &result->entries[i], now,",
     "blocked = on_entry(sender, s, index, &result->entries[(i + 1) % g.length], now,"),
    # Acknowledging.
    ("acknowledging before the response", "sender.c",
     "\ts->state = SLOT_SENT;\n}",
     "\ts->state = SLOT_SENT;\n\tfor (int i = 0; i < s->public.key_count; i++)\n"
     "\t\ts->public.keys[i].state = PE_KEY_ACCEPTED;\n\ts->group_count = 0;\n\ts->state = SLOT_DONE;\n}"),
    ("what could not be committed is forgotten", "sender.c",
     "not_written(sender, s->owner, written, now);\n\t\treturn;",
     "not_written(sender, s->owner, written, now);\n\t\tpe_slot_release(sender, s);\n\t\treturn;"),
    ("what is given up counts as superseded", "sender.c",
     "if (key->state == PE_KEY_PENDING)\n\t\t\tkey->state = PE_KEY_KEPT;",
     "if (key->state == PE_KEY_PENDING)\n\t\t\tkey->state = PE_KEY_SUPERSEDED;"),
    ("a send without an outcome is not written down", "sender.c",
     "noteworthy |= key->state != PE_KEY_KEPT || key->sent_at > 0;",
     "noteworthy |= key->state != PE_KEY_KEPT;"),
    ("an unknown outcome is given up", "sender_reply.c",
     "case PE_OUTCOME_UNKNOWN:\n\t\t\twait_for_server(sender, s, now);",
     "case PE_OUTCOME_UNKNOWN:\n\t\t\ts->group_count--;"),
    # Refusals.
    ("a refused request is dead as a whole", "sender_reply.c",
     "if (g.length > 1)\n\t{\n\t\thalve(s);\n\t\treturn;\n\t}",
     "if (g.length > 1)\n\t{\n\t\ts->group_count--;\n\t\tfor (int i = 0; i < g.length; i++)\n"
     "\t\t\t(void) refuse_key(sender, s, s->order[g.start + i], outcome, 400, NULL, now);\n\t\treturn;\n\t}"),
    ("half of a refused request is forgotten", "sender_reply.c",
     "if (second.length > 0)\n\t\ts->groups[s->group_count++] = second;",
     ""),
    ("dead letters wholesale instead of a block", "sender_reply.c",
     "if (e->refused > TRIAL_KEYS / 2)", "if (false)"),
    ("after resume() the same refusals kill", "sender_reply.c",
     "key->before == PE_OUTCOME_REFUSED && !e->suspect;", "key->before == PE_OUTCOME_REFUSED;"),
    ("one 500 is the data's fault", "sender_reply.c",
     "if (key->attempts + 1 >= MAX_FAULTS)", "if (true)"),
    ("failures of all kinds count as 500s", "sender_reply.c",
     "if (key->before != PE_OUTCOME_FAULT)\n\t\tkey->attempts = 0;", ""),
    ("the schema is probed with the same key for ever", "sender_reply.c",
     "\tretry_later(sender, key, SET_ASIDE);\n\tkey->attempts++;\n}\n\n/* The answer to a probe",
     "\tkey->state = PE_KEY_KEPT;\n}\n\n/* The answer to a probe"),
    # Pace.
    ("Retry-After is obeyed however long", "sender_reply.c",
     "if (delay > 3600 * PE_SECOND)\n\t\tdelay = 3600 * PE_SECOND;", ""),
    ("Retry-After is obeyed however short", "sender_reply.c",
     "if (delay < PE_SECOND)\n\t\tdelay = PE_SECOND;", ""),
    ("Retry-After is ignored", "sender_reply.c",
     "case PE_OUTCOME_RATE:\n\t\t\tpause_server(sender, s, now, result->retry_after);",
     "case PE_OUTCOME_RATE:\n\t\t\twait_for_server(sender, s, now);"),
    ("a failure closes the breaker", "throttle.c",
     "case PE_HEALTH_FAILED:\n\t\t\tcount_failure(throttle, now, started, random);",
     "case PE_HEALTH_FAILED:\n\t\t\tthrottle->open = false;"),
    ("an open breaker lets everything through", "throttle.c",
     "if (throttle->open && throttle->in_flight > 0)\n\t\treturn PE_NEVER;", ""),
    ("each link of a server has its own pace", "sender.c",
     "l->id = id;\n\tl->server = v;",
     "l->id = id;\n\tv = pe_calloc(sender->env, 1, sizeof(*v));\n\t*v = *find_server(sender, server_id);\n"
     "\tv->id = 1000 + id;\n\tv->next = sender->servers;\n\tsender->servers = v;\n\tl->server = v;"),
    ("places of loaded chunks are not given back", "sender.c",
     "e->link->server->loaded--;\n\te->loaded--;", ""),
    ("enrichments take no turns", "sender.c",
     "if (built->sent_count > 0 || !l->server->throttle.open)\n\t\tserve_last(sender, s->owner);", ""),
    # Permission.
    ("two slots serve one shard", "sender.c",
     "e->slots[i].public.shard = i;", "e->slots[i].public.shard = i == 1 ? 0 : i;"),
    ("a paused enrichment is sent for", "sender.c",
     "return e->gone || e->paused || e->link != e->wanted;",
     "return e->gone || e->link != e->wanted;"),
    ("an enrichment goes on by the link it has left", "sender.c",
     "return e->gone || e->paused || e->link != e->wanted;",
     "return e->gone || e->paused;"),
    ("a blocked enrichment is sent for", "sender.c",
     "(e->block == PE_BLOCK_NONE || (e->block != PE_BLOCK_IDENTITY && e->next_probe <= now));",
     "e->block != PE_BLOCK_IDENTITY;"),
    ("a copy of the database probes the platform", "sender.c",
     "(e->block == PE_BLOCK_NONE || (e->block != PE_BLOCK_IDENTITY && e->next_probe <= now));",
     "true;"),
    ("warming up is not waited for", "sender.c",
     "!pe_enrichment_is_leaving(e) && e->hold_until <= now &&",
     "!pe_enrichment_is_leaving(e) &&"),
    ("a key that has to wait is sent", "sender.c",
     "if (key->delay > 0)\n\t\t\tkey->state = PE_KEY_LATER;\n\t\telse", ""),
    ("what was met before resume() blocks again", "sender_reply.c",
     "return s->started < s->owner->fresh_since;", "return false;"),
    ("a token refused before resume() blocks again", "sender.c",
     "&& l->token_asked_at >= e->fresh_since", ""),
    ("resume() is not heard of", "sender.c",
     "if (!is_new && e->resumes != info->resumes)", "if (false)"),
    # The tables, as the model has them.
    ("a block is written down although somebody has resumed", "database.c",
     "if (t->resumes == action->resumes)", "if (true)"),
    ("refresh compares with the acknowledged value", "database.c",
     "int old = s->present ? s->value : RETRACTED;",
     "int old = s->present ? w->db.acknowledged[e][k] : RETRACTED;"),
    ("a superseded value is sent", "database.c",
     "if (!s->present || s->version > l->versions[index])",
     "if (!s->present)"),
    ("what was sent is not remembered", "database.c",
     "if (key->sent_at > 0)", "if (false)"),
    ("retries are lost", "database.c",
     "case PE_KEY_RETRY:\n\t\t\tretry_key(w, e, k, version, key);", "case PE_KEY_RETRY:"),
    ("a chunk goes with what was not decided in it", "database.c",
     "if (kept.count > 0)\n\t\tq->chunks[at] = kept;\n\telse\n\t\tdelete_chunk(q, at);", "delete_chunk(q, at);"),
    ("a tombstone goes before it is accepted", "database.c",
     "s->value == RETRACTED && s->version == version && !is_locked", "s->value == RETRACTED && !is_locked"),
    ("not_before is not waited for", "database.c",
     "if (c->id <= after || c->not_before > wall(w))\n\t\t\tcontinue;",
     "if (c->id <= after)\n\t\t\tcontinue;"),
    ("what has taken another's place may follow it at once", "database.c",
     "(waited == 0 || sent->next_at < waited)", "true"),
    ("nothing counts as overdue", "database.c",
     "l->overdue |= wall(w) - due_at(s) > slack(w);", ""),
    ("the next value does not wait for the slack", "database.c",
     "due = due_at(s) + w->gap + slack(w);", "due = due_at(s) + w->gap;"),
    ("of merged chunks only the first is done with", "database.c",
     "for (int i = 0; i < l->chunk_count; i++)\n\t\trelease_chunk", "for (int i = 0; i < 1 && l->chunk_count > 0; i++)\n\t\trelease_chunk"),
    ("merged chunks are passed over when one keeps keys", "database.c",
     "kept ? l->chunks[0].id - 1 : l->chunks[l->chunk_count - 1].id", "l->chunks[l->chunk_count - 1].id + 1000"),
    ("a profile's values go through several shards", "database.c",
     "for (int i = k; i < w->keys && c.count < w->chunk; i += w->shards)\n"
     "\t\t\tif (left[i] && w->db.scores[e][i].not_before == c.not_before)\n"
     "\t\t\t{\n\t\t\t\tleft[i] = false;\n\t\t\t\tc.keys[c.count++] = i;\n\t\t\t}\n"
     "\t\tr->first_chunk++;\n\t\tinsert_chunk(w, e, shard, &c);",
     "left[k] = false;\n\t\tc.keys[c.count++] = k;\n\t\tr->first_chunk++;\n"
     "\t\tinsert_chunk(w, e, roll(w, w->shards), &c);"),
]


def path_of(name):
    return next(path for path in SENDER + MODEL + ["src/platform/sender_internal.h"] if os.path.basename(path) == name)


def run(command):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def compile_to(source, target):
    done = run(COMPILE + ["-c", source, "-o", target])
    if done.returncode:
        raise RuntimeError("does not compile: " + done.stdout)


def mutate(directory, objects, name, before, after):
    """The program with one edit."""
    path = path_of(name)
    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(ROOT, path)) as file:
        text = file.read()
    # However the lines are broken.
    edited, count = re.subn(r"\s+".join(re.escape(word) for word in before.split()), lambda match: after, text)
    if count != 1:
        raise RuntimeError("the text to be edited is in %s %d times, not once" % (path, count))
    copy = os.path.join(directory, name)
    with open(copy, "w") as file:
        file.write(edited)
    compile_to(copy, copy[:-2] + ".mutant.o")
    program = os.path.join(directory, "mutant")
    linked = run(["gcc"] + [copy[:-2] + ".mutant.o" if path == other else target
                            for other, target in objects.items()] + ["-lm", "-o", program])
    if linked.returncode:
        raise RuntimeError("does not link: " + linked.stdout)
    return program


def first_complaint(program, seeds, steps):
    """What the first failing world complained about, or None."""
    done = run([program, "1", str(seeds), str(steps), "1"])
    for line in done.stdout.splitlines():
        if line.startswith("not ok - "):
            return line[len("not ok - "):]
    return None


def main():
    directory = sys.argv[1]
    seeds = int(sys.argv[2]) if len(sys.argv) > 2 else 12000
    steps = int(sys.argv[3]) if len(sys.argv) > 3 else 10000
    os.makedirs(directory, exist_ok=True)
    objects = {}
    for path in SENDER + MODEL:
        objects[path] = os.path.join(directory, os.path.basename(path)[:-2] + ".o")
        compile_to(os.path.join(ROOT, path), objects[path])

    def attempt(number):
        """Was it noticed, and what to say of it."""
        _, name, before, after = MUTATIONS[number]
        try:
            found = first_complaint(mutate(os.path.join(directory, str(number)), objects, name, before, after),
                                    seeds, steps)
            return bool(found), found or "not noticed by %d worlds" % seeds
        except RuntimeError as error:
            return False, str(error)

    missed = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for number, (found, note) in enumerate(pool.map(attempt, range(len(MUTATIONS))), 1):
            missed += not found
            print("%s %d - %s: %s" % ("ok" if found else "not ok", number, MUTATIONS[number - 1][0], note), flush=True)
    print("1..%d" % len(MUTATIONS))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
