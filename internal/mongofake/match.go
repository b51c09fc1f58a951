package mongofake

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

func badValue(format string, args ...any) error {
	return &refusal{2, "BadValue", fmt.Sprintf(format, args...), nil}
}

// match says whether a document passes a filter: equality, $eq, $ne, $in, $nin, $gt, $gte,
// $lt, $lte, $exists, $not, $elemMatch, $and, $or and $nor. Anything else is refused.
func match(doc, filter bson.Raw) (bool, error) {
	conditions, err := filter.Elements()
	if err != nil {
		return false, badValue("%v", err)
	}
	for _, c := range conditions {
		ok, err := matchOne(doc, c.Key(), c.Value())
		if !ok || err != nil {
			return false, err
		}
	}
	return true, nil
}

func matchOne(doc bson.Raw, key string, want bson.RawValue) (bool, error) {
	switch key {
	case "$comment":
		return true, nil
	case "$and", "$or", "$nor":
		list, err := values(want)
		if err != nil {
			return false, err
		}
		some, every := false, true
		for _, v := range list {
			filter, isDocument := v.DocumentOK()
			if !isDocument {
				return false, badValue("%s needs documents", key)
			}
			ok, err := match(doc, filter)
			if err != nil {
				return false, err
			}
			some, every = some || ok, every && ok
		}
		return key == "$and" && every || key == "$or" && some || key == "$nor" && !some, nil
	}
	if strings.HasPrefix(key, "$") {
		return false, badValue("unknown top level operator: %s", key)
	}
	found := lookup(doc, strings.Split(key, "."), true)
	operators, is := operators(want)
	if !is {
		return equal(found, want), nil
	}
	return matchOperators(found, operators)
}

// operators are the fields of a value like {$gt: 1}.
func operators(v bson.RawValue) ([]bson.RawElement, bool) {
	doc, ok := v.DocumentOK()
	if !ok {
		return nil, false
	}
	fields, err := doc.Elements()
	return fields, err == nil && len(fields) > 0 && strings.HasPrefix(fields[0].Key(), "$")
}

func matchOperators(found []bson.RawValue, operators []bson.RawElement) (bool, error) {
	for _, o := range operators {
		ok, err := matchOperator(found, o.Key(), o.Value())
		if !ok || err != nil {
			return false, err
		}
	}
	return true, nil
}

func matchOperator(found []bson.RawValue, operator string, want bson.RawValue) (bool, error) {
	switch operator {
	case "$eq":
		return equal(found, want), nil
	case "$ne":
		return !equal(found, want), nil
	case "$in", "$nin":
		list, err := values(want)
		if err != nil {
			return false, err
		}
		in := slices.ContainsFunc(list, func(v bson.RawValue) bool { return equal(found, v) })
		return in == (operator == "$in"), nil
	case "$exists":
		return (len(found) > 0) == truth(want), nil
	case "$gt", "$gte", "$lt", "$lte":
		return slices.ContainsFunc(found, func(v bson.RawValue) bool {
			if class(v) != class(want) {
				return false
			}
			c := compare(v, want)
			return c == 0 && strings.HasSuffix(operator, "e") || c > 0 && operator[1] == 'g' || c < 0 && operator[1] == 'l'
		}), nil
	case "$not":
		inner, is := operators(want)
		if !is {
			return false, badValue("$not needs an operator")
		}
		ok, err := matchOperators(found, inner)
		return !ok, err
	case "$elemMatch":
		return elemMatch(found, want)
	}
	return false, badValue("unknown operator: %s", operator)
}

func elemMatch(found []bson.RawValue, want bson.RawValue) (bool, error) {
	filter, ok := want.DocumentOK()
	if !ok {
		return false, badValue("$elemMatch needs an Object")
	}
	inner, is := operators(want)
	for _, v := range found {
		if v.Type != bson.TypeArray {
			continue
		}
		elements, err := values(v)
		if err != nil {
			return false, err
		}
		for _, e := range elements {
			var ok bool
			if doc, isDocument := e.DocumentOK(); is {
				ok, err = matchOperators([]bson.RawValue{e}, inner)
			} else if isDocument {
				ok, err = match(doc, filter)
			}
			if ok || err != nil {
				return ok, err
			}
		}
	}
	return false, nil
}

// lookup finds what a path leads to, through every element of arrays on the way. With
// leaves, arrays at its end give their elements too.
func lookup(doc bson.Raw, path []string, leaves bool) (found []bson.RawValue) {
	v, err := doc.LookupErr(path[0])
	if err != nil {
		return nil
	}
	if len(path) == 1 {
		found = append(found, v)
		if elements, err := values(v); leaves && err == nil {
			found = append(found, elements...)
		}
		return found
	}
	if inner, ok := v.DocumentOK(); ok {
		return lookup(inner, path[1:], leaves)
	}
	if elements, err := values(v); err == nil {
		for _, e := range elements {
			if inner, ok := e.DocumentOK(); ok {
				found = append(found, lookup(inner, path[1:], leaves)...)
			}
		}
	}
	return found
}

// values are the elements of an array.
func values(v bson.RawValue) ([]bson.RawValue, error) {
	array, ok := v.ArrayOK()
	if !ok {
		return nil, badValue("%s instead of an array", v.Type)
	}
	return array.Values()
}

// equal says whether one of the values found equals want; null equals what is missing.
func equal(found []bson.RawValue, want bson.RawValue) bool {
	if len(found) == 0 {
		return want.Type == bson.TypeNull
	}
	return slices.ContainsFunc(found, func(v bson.RawValue) bool { return class(v) == class(want) && compare(v, want) == 0 })
}

func truth(v bson.RawValue) bool {
	if b, ok := v.BooleanOK(); ok {
		return b
	}
	n, ok := number(v)
	return !ok && v.Type != bson.TypeNull || n != 0
}

// number is a value of any numeric type but Decimal128.
func number(v bson.RawValue) (float64, bool) {
	switch v.Type {
	case bson.TypeInt32:
		return float64(v.Int32()), true
	case bson.TypeInt64:
		return float64(v.Int64()), true
	case bson.TypeDouble:
		return v.Double(), true
	}
	return 0, false
}

// class groups the types that are compared with each other, in MongoDB's order of types.
func class(v bson.RawValue) int {
	switch v.Type {
	case bson.TypeNull, bson.TypeUndefined, 0:
		return 1
	case bson.TypeInt32, bson.TypeInt64, bson.TypeDouble:
		return 2
	case bson.TypeString:
		return 3
	case bson.TypeEmbeddedDocument:
		return 4
	case bson.TypeArray:
		return 5
	case bson.TypeBinary:
		return 6
	case bson.TypeObjectID:
		return 7
	case bson.TypeBoolean:
		return 8
	case bson.TypeDateTime:
		return 9
	case bson.TypeTimestamp:
		return 10
	}
	return 20 + int(v.Type)
}

// compare orders two values; documents and arrays are only equal or not.
func compare(a, b bson.RawValue) int {
	if c := cmp.Compare(class(a), class(b)); c != 0 {
		return c
	}
	switch a.Type {
	case bson.TypeInt32, bson.TypeInt64, bson.TypeDouble:
		x, _ := number(a)
		y, _ := number(b)
		return cmp.Compare(x, y)
	case bson.TypeString:
		return strings.Compare(a.StringValue(), b.StringValue())
	case bson.TypeDateTime:
		return cmp.Compare(a.DateTime(), b.DateTime())
	case bson.TypeTimestamp:
		at, ai := a.Timestamp()
		bt, bi := b.Timestamp()
		return cmp.Or(cmp.Compare(at, bt), cmp.Compare(ai, bi))
	}
	return bytes.Compare(a.Value, b.Value)
}
