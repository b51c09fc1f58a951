package conf

import (
	"fmt"
	"reflect"
	"strings"
)

// suggest is a hint at the key of t that was probably meant, or nothing.
func suggest(key string, t reflect.Type) string {
	if key == "<<" {
		return " (merge keys are not supported)"
	}
	if len(key) > 40 {
		return ""
	}
	word := strings.ToLower(strings.ReplaceAll(key, "-", "_"))
	best, least := "", max(1, len(word)/3)+1
	for i := range t.NumField() {
		name := t.Field(i).Tag.Get("yaml")
		if n := distance(word, name); n < least {
			best, least = name, n
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

// distance is the number of letters to insert, delete, replace or swap with their
// neighbour to make b of a.
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
