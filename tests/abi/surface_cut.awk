# What a host of an older version sees of a newer library: the description of today's surface (abidw's XML, second file)
# in which structs end where they ended in the baseline (first file). Only structs that begin with struct_size are cut:
# the library learns their length from the caller, so nothing else may grow.
function attribute(name, part) {
  if (!match($0, name "='[^']*'")) return ""
  part = substr($0, RSTART, RLENGTH)
  sub(/^[^']*'/, "", part)
  sub(/'$/, "", part)
  return part
}
/<class-decl name='dsv4_/ {
  type = attribute("name")
  size = attribute("size-in-bits") + 0
  members = 0
}
FNR == NR {
  if (/<var-decl / && type != "" && members++ == 0 && attribute("name") == "struct_size") old[type] = size
  if (/<\/class-decl>/) type = ""
  next
}
/<class-decl name='dsv4_/ && type in old && size > old[type] {
  sub("size-in-bits='" size "'", "size-in-bits='" old[type] "'")
  grown = 1
}
grown && /<data-member / && attribute("layout-offset-in-bits") + 0 >= old[type] { cutting = 1 }
!cutting { print }
/<\/data-member>/ { cutting = 0 }
/<\/class-decl>/ { grown = 0 }
