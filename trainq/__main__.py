from trainq.cli import main

main()
