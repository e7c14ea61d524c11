"""Records against their schema: a schema becomes a chain of small closures, one for each field.

Stricter than the real service where its documentation allows no more: no nulls, no empty values, no
field that the schema does not have.
"""
import re

CLASS_PROFILE = 'https://ns.adobe.com/xdm/context/profile'
CLASS_EVENT = 'https://ns.adobe.com/xdm/context/experienceevent'
IDENTITY_MAP = 'https://ns.adobe.com/xdm/context/identitymap'

_STRING = {'type': 'string'}
_TIME = {'type': 'string', 'format': 'date-time'}
_OPEN = {'type': 'object', 'standin:open': True}

# Adobe's own classes and field groups: title, and what each brings to a record.
GLOBAL = {
    CLASS_PROFILE: ('XDM Individual Profile', {
        '_id': _STRING, '_repo': {'type': 'object', 'properties': {'createDate': _TIME, 'modifyDate': _TIME}},
        'createdByBatchID': _STRING, 'modifiedByBatchID': _STRING, 'personID': _STRING,
        'repositoryCreatedBy': _STRING, 'repositoryLastModifiedBy': _STRING}),
    CLASS_EVENT: ('XDM ExperienceEvent', {'_id': _STRING, 'timestamp': _TIME, 'eventType': _STRING}),
    IDENTITY_MAP: ('IdentityMap', {'identityMap': _OPEN}),
    'https://ns.adobe.com/xdm/context/profile-segmentation': ('Segment Membership Details', {'segmentMembership': _OPEN}),
    'https://ns.adobe.com/xdm/context/profile-person-details': ('Demographic Details', {'person': _OPEN}),
    'https://ns.adobe.com/xdm/context/profile-personal-details': ('Personal Contact Details', {
        'homeAddress': _OPEN, 'personalEmail': _OPEN, 'homePhone': _OPEN, 'mobilePhone': _OPEN, 'faxPhone': _OPEN}),
    'https://ns.adobe.com/xdm/mixins/profile-consents': ('Consent and Preference Details', {'consents': _OPEN}),
    'https://ns.adobe.com/xdm/mixins/profile/profile-loyalty-details': ('Loyalty Details', {'loyalty': _OPEN}),
    'https://ns.adobe.com/xdm/context/profile-test-profile': ('Profile test details', {'testProfile': {'type': 'boolean'}}),
    'https://ns.adobe.com/xdm/common/external-source-system-audit-details': (
        'External Source System Audit Details', {'extSourceSystemAudit': _OPEN}),
}

INT32 = 2147483648
_DATE = re.compile(r'\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])\Z')
_DATE_TIME = re.compile(r'\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])[Tt]([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?'
                        r'([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)\Z')
_ECID = re.compile(r'\d{38}\Z')
_BLOCKED_IDS = {'null', 'anonymous', 'invalid'}
MAX_IDENTITIES = 20
MAX_RECORD = 102400


class Violation(Exception):
    """A record that does not fit: what, where, and the JSON Schema keyword it breaks."""

    def __init__(self, message, keyword='type', code=None):
        super().__init__(message)
        self.message = message
        self.keyword = keyword
        self.code = code
        self.path = []

    @property
    def pointer(self):
        return '#/' + '/'.join(reversed(self.path))

    def report(self):
        return {'schemaLocation': '#', 'pointerToViolation': self.pointer, 'keyword': self.keyword,
                'message': '%s: %s' % (self.pointer, self.message), 'causingExceptions': []}


def _found(value):
    names = {bool: 'Boolean', int: 'Integer', float: 'Double', str: 'String', list: 'JSONArray', dict: 'JSONObject'}
    return 'Null' if value is None else names[type(value)]


def _expect(value, kind, name):
    if type(value) is not kind:
        raise Violation('expected type: %s, found: %s' % (name, _found(value)))
    if not value and kind in (str, list, dict):
        raise Violation('empty value', 'minLength')


def _string(node):
    low, high = node.get('minLength'), node.get('maxLength')
    allowed = set(node['enum']) if 'enum' in node else None
    pattern = re.compile(node['pattern']) if 'pattern' in node else None
    form = {'date': _DATE, 'date-time': _DATE_TIME}.get(node.get('format'))

    def check(value):
        _expect(value, str, 'String')
        if form and not form.match(value):
            raise Violation('[%s] is not a valid %s' % (value, node['format']), 'format')
        if allowed is not None and value not in allowed:
            raise Violation('%s is not a valid enum value' % value, 'enum')
        if pattern and not pattern.search(value):
            raise Violation('string does not match pattern', 'pattern')
        if (low is not None and len(value) < low) or (high is not None and len(value) > high):
            raise Violation('length out of bounds', 'maxLength')
    return check


def _integer(node):
    low, high = node.get('minimum', -INT32), node.get('maximum', INT32)

    def check(value):
        if type(value) is not int:
            raise Violation('expected type: Integer, found: %s' % _found(value))
        if not low <= value <= high:
            raise Violation('%d is not from %d to %d' % (value, low, high), 'maximum')
    return check


def _number(node):
    low, high = node.get('minimum'), node.get('maximum')

    def check(value):
        if type(value) is not float and type(value) is not int:
            raise Violation('expected type: Number, found: %s' % _found(value))
        if (low is not None and value < low) or (high is not None and value > high):
            raise Violation('out of bounds', 'maximum')
    return check


def _boolean(node):
    def check(value):
        if type(value) is not bool:
            raise Violation('expected type: Boolean, found: %s' % _found(value))
    return check


def _array(node):
    item = compile_node(node.get('items') or {})

    def check(value):
        _expect(value, list, 'JSONArray')
        for i, member in enumerate(value):
            try:
                item(member)
            except Violation as violation:
                violation.path.append(str(i))
                raise
    return check


def _map(node):
    member = compile_node(node['additionalProperties'])

    def check(value):
        _expect(value, dict, 'JSONObject')
        for key, part in value.items():
            try:
                member(part)
            except Violation as violation:
                violation.path.append(key)
                raise
    return check


def _object(node):
    fields = {name: compile_node(part) for name, part in (node.get('properties') or {}).items()}
    required = node.get('required') or []

    def check(value):
        _expect(value, dict, 'JSONObject')
        for key, part in value.items():
            field = fields.get(key)
            try:
                if field is None:
                    raise Violation('the schema has no such field', 'additionalProperties')
                field(part)
            except Violation as violation:
                violation.path.append(key)
                raise
        for name in required:
            if name not in value:
                raise Violation('required key [%s] not found' % name, 'required')
    return check


def _open(value):
    """A field of Adobe's own, whose inside is not modelled here: only nulls are refused."""
    if value is None:
        raise Violation('expected type: Object, found: Null')
    if type(value) is dict or type(value) is list:
        for key, part in value.items() if type(value) is dict else enumerate(value):
            try:
                _open(part)
            except Violation as violation:
                violation.path.append(str(key))
                raise


_MAKERS = {'string': _string, 'integer': _integer, 'number': _number, 'boolean': _boolean, 'array': _array}


def is_map(node):
    return isinstance(node.get('additionalProperties'), dict)


def compile_node(node):
    if node.get('standin:open') or 'type' not in node:
        return _open
    if node['type'] == 'object':
        return _map(node) if is_map(node) else _object(node)
    return _MAKERS[node['type']](node)


def check_identity(code, value):
    """An id that the identity service would take, or Violation."""
    if type(value) is not str:
        raise Violation('identity of namespace %s is not a string' % code)
    if not value.strip() or value.strip().lower() in _BLOCKED_IDS:
        raise Violation('identity of namespace %s is blank or a blocked value' % code, 'identity')
    if len(value) > 1024:
        raise Violation('identity of namespace %s is longer than 1024 characters' % code, 'maxLength')
    if code.lower() == 'ecid' and not _ECID.match(value):
        raise Violation('ECID is not 38 digits', 'pattern')


def _map_identities(entity, namespaces):
    """[(code, id, primary)] of identityMap."""
    found = []
    identity_map = entity.get('identityMap')
    if identity_map is None:
        return found
    _expect(identity_map, dict, 'JSONObject')
    for code, items in identity_map.items():
        if code.lower() not in namespaces:
            raise Violation('no identity namespace %s' % code, 'identity')
        _expect(items, list, 'JSONArray')
        for item in items:
            _expect(item, dict, 'JSONObject')
            unknown = set(item) - {'id', 'primary', 'authenticatedState', 'xid'}
            if unknown:
                raise Violation('identityMap has no member %s' % unknown.pop(), 'additionalProperties')
            if item.get('authenticatedState', 'ambiguous') not in ('ambiguous', 'authenticated', 'loggedOut'):
                raise Violation('authenticatedState is not a valid enum value', 'enum')
            if type(item.get('primary', False)) is not bool:
                raise Violation('primary is not a boolean')
            check_identity(code, item.get('id'))
            found.append((code, item['id'], item.get('primary', False)))
    return found


class Checker:
    """One schema, ready to check records: check(entity) gives the primary (code, id) and all identities."""

    def __init__(self, properties, identity_fields, namespaces):
        """identity_fields: [(path as a list, namespace code, is primary)]; namespaces: lower-case codes."""
        self.check_fields = _object({'properties': properties})
        self.fields = identity_fields
        self.namespaces = namespaces

    def check(self, entity):
        self.check_fields(entity)
        identities = _map_identities(entity, self.namespaces)
        marked = [(code, value) for code, value, primary in identities if primary]
        everyone = [(code, value) for code, value, _ in identities]
        by_field = None
        for path, code, primary in self.fields:
            value = entity
            for step in path:
                value = value.get(step) if type(value) is dict else None
            if value is None:
                if primary:
                    raise Violation('required key [%s] not found: it is the primary identity' % '/'.join(path), 'required')
                continue
            check_identity(code, value)
            if primary:
                by_field = (code, value)
            if (code, value) not in everyone:
                everyone.append((code, value))
        if len(everyone) > MAX_IDENTITIES:
            raise Violation('more than %d identities in a record' % MAX_IDENTITIES, 'maxItems')
        if by_field:
            return by_field, everyone
        if len(marked) != 1:
            raise Violation('a record needs exactly one primary identity, this one has %d' % len(marked), 'identity')
        return marked[0], everyone
