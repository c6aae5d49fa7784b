# Of constraints.txt, with hashes, the packages that a list names: awk -f pick.awk run.txt constraints.txt
NR == FNR { wanted[$1]; next }
/^[a-z0-9]/ { split($1, name, "=="); picked = name[1] in wanted }
picked
