"""Scripted misbehaviour: rules that match requests, and what happens to those.

A rule is {"path": regexp, "method": "POST", "body": regexp, "after": n, "every": n, "count": n,
"probability": p, "seed": s, "action": {...}}; all parts but action are optional. `after` lets the first n
matching requests pass, `every` takes each n-th of the rest, `count` ends the rule after n hits. The rules are
tried in the order in which they were made; the first that hits decides. README.md lists the actions.
"""
import datetime
import email.utils
import random
import re
import threading

from .core import Refusal

PARTS = {'path', 'method', 'body', 'after', 'every', 'count', 'probability', 'seed', 'action', 'id'}
ACTIONS = {'status', 'retry_after', 'body', 'headers', 'process', 'delay_ms', 'reply_delay_ms', 'cut', 'reset', 'garbage',
           'body_bytes', 'header_bytes', 'redirect', 'expire_tokens', 'revoke_token', 'token_life', 'entries', 'miscount', 'trickle', 'keep_alive'}
CUTS = {'before_body', 'after_body', 'after_accept', 'mid_reply'}


class Rule:
    def __init__(self, number, spec):
        unknown = set(spec) - PARTS
        action = spec.get('action')
        if unknown or type(action) is not dict or set(action) - ACTIONS or action.get('cut', 'mid_reply') not in CUTS:
            raise Refusal(400, {'error': 'not a rule', 'parts': sorted(PARTS), 'actions': sorted(ACTIONS), 'cuts': sorted(CUTS)})
        self.id = spec.get('id', number)
        self.spec = spec
        self.path = re.compile(spec.get('path', ''))
        self.body = re.compile(spec['body'].encode()) if 'body' in spec else None
        self.chance = random.Random(spec.get('seed', 0))
        self.matched = 0
        self.hits = 0

    @property
    def early(self):
        return self.spec['action'].get('cut') == 'before_body'

    def hit(self, request):
        spec = self.spec
        if 'count' in spec and self.hits >= spec['count']:
            return False
        if spec.get('method', request.method) != request.method or not self.path.search(request.target):
            return False
        if self.body and not self.body.search(request.body):
            return False
        self.matched += 1
        turn = self.matched - spec.get('after', 0)
        if turn <= 0 or (turn - 1) % spec.get('every', 1):
            return False
        if 'probability' in spec and self.chance.random() >= spec['probability']:
            return False
        self.hits += 1
        return True

    def view(self):
        return dict(self.spec, id=self.id, matched=self.matched, hits=self.hits)


class Faults:
    def __init__(self):
        self.lock = threading.Lock()
        self.rules = []
        self.made = 0
        # what becomes of new connections before a word is said: {"reset": n} or {"hang": n}
        self.connections = {}

    def add(self, specs):
        with self.lock:
            made = []
            for spec in specs if type(specs) is list else [specs]:
                self.made += 1
                made.append(Rule(self.made, spec))
            self.rules.extend(made)
            return [rule.id for rule in made]

    def remove(self, rule_id=None):
        with self.lock:
            self.rules = [r for r in self.rules if rule_id is not None and str(r.id) != rule_id]
            if rule_id is None:
                self.connections = {}

    def pick(self, request, early):
        """The action for this request; asked twice, before and after its body was read."""
        with self.lock:
            for rule in self.rules:
                if rule.early == early and rule.hit(request):
                    return rule.spec['action']
        return {}

    def connection(self):
        """What to do with a new connection: None, 'reset' or 'hang'."""
        with self.lock:
            for kind in ('reset', 'hang'):
                if self.connections.get(kind, 0) > 0:
                    self.connections[kind] -= 1
                    return kind
        return None

    def view(self):
        with self.lock:
            return {'rules': [r.view() for r in self.rules], 'connections': self.connections}


def retry_after(value):
    """Seconds, any text, or "date:+5": a date five seconds from now."""
    if type(value) is str and value.startswith('date:'):
        at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=float(value[5:]))
        return email.utils.format_datetime(at, usegmt=True)
    return str(value)
